package main

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/valyala/fasthttp"
)

const (
	listed  = 20
	longest = int64(time.Minute / time.Microsecond)
)

type options struct {
	rate        float64
	duration    time.Duration
	requests    int
	connections int
	timeout     time.Duration
}

// Report is what the program prints. Latencies are milliseconds.
type Report struct {
	Requests int64   `json:"requests"`
	Seconds  float64 `json:"seconds"`
	Rate     float64 `json:"rate"`
	// Errors counts answers that never came and statuses other than 200; Wrong counts unexpected answers.
	Errors map[string]int64 `json:"errors"`
	Wrong  int64            `json:"wrong"`
	// WrongShown lists the first wrong answers with their requests.
	WrongShown []string `json:"wrong_shown"`
	// Latency counts from when a request was due, Service from when it was sent; Late is how long after it was
	// due the generator handed it out.
	Latency          map[string]float64 `json:"latency"`
	Service          map[string]float64 `json:"service"`
	Late             map[string]float64 `json:"late"`
	ProcessorSeconds float64            `json:"processor_seconds"`
	Processors       int                `json:"processors"`
}

// due is a request and the moment it should be sent.
type due struct {
	number int64
	at     time.Time
}

// worker owns one connection and what it measured.
type worker struct {
	address string
	timeout time.Duration
	conn    net.Conn
	reader  *bufio.Reader
	answer  fasthttp.Response

	latency, service *hdrhistogram.Histogram
	errors           map[string]int64
	wrong            int64
	shown            []string
	last             time.Time
}

func attack(address string, requests []prepared, options options) Report {
	workers := make([]*worker, options.connections)
	for index := range workers {
		workers[index] = &worker{address: address, timeout: options.timeout,
			latency: histogram(), service: histogram(), errors: map[string]int64{}}
		// Connections are open before the clock runs; one that fails is tried again by its first request.
		workers[index].connect()
	}
	late := histogram()
	began := time.Now()
	var feed func() (due, bool)
	if options.rate > 0 {
		feed = open(began, options, late)
	} else {
		feed = closed(began, options)
	}
	var group sync.WaitGroup
	for _, one := range workers {
		group.Go(func() {
			for next, more := feed(); more; next, more = feed() {
				one.send(&requests[next.number%int64(len(requests))], next.at)
			}
			one.close()
		})
	}
	group.Wait()
	return summary(workers, late, began)
}

// open hands out requests when they fall due; the queue is as long as the server is behind.
func open(began time.Time, options options, late *hdrhistogram.Histogram) func() (due, bool) {
	queue := make(chan due, 1<<20)
	go func() {
		defer close(queue)
		// The same arrivals in every run.
		random := rand.New(rand.NewPCG(1, 2))
		at := began
		for number := int64(0); ; number++ {
			at = at.Add(time.Duration(random.ExpFloat64() / options.rate * float64(time.Second)))
			if options.requests > 0 && number >= int64(options.requests) ||
				options.duration > 0 && at.Sub(began) > options.duration {
				return
			}
			if wait := time.Until(at); wait > 0 {
				time.Sleep(wait)
			}
			record(late, time.Since(at))
			queue <- due{number, at}
		}
	}()
	return func() (due, bool) {
		next, more := <-queue
		return next, more
	}
}

// closed hands out the next request at once.
func closed(began time.Time, options options) func() (due, bool) {
	var count atomic.Int64
	return func() (due, bool) {
		number, now := count.Add(1)-1, time.Now()
		more := options.requests > 0 && number < int64(options.requests) ||
			options.duration > 0 && now.Sub(began) < options.duration
		return due{number, now}, more
	}
}

func (w *worker) send(request *prepared, at time.Time) {
	sent := time.Now()
	failure := w.exchange(request)
	w.last = time.Now()
	if failure != "" {
		w.errors[failure]++
		w.close()
	}
	record(w.latency, w.last.Sub(at))
	record(w.service, w.last.Sub(sent))
}

// exchange sends a request and checks its answer; returns what failed, if anything did.
func (w *worker) exchange(request *prepared) string {
	if w.conn == nil && !w.connect() {
		return "no connection"
	}
	if w.conn.SetDeadline(time.Now().Add(w.timeout)) != nil {
		return "no connection"
	}
	if _, err := w.conn.Write(request.wire); err != nil {
		return "not sent"
	}
	if err := w.answer.Read(w.reader); err != nil {
		return "no answer"
	}
	body := w.answer.Body()
	if status := w.answer.StatusCode(); status != fasthttp.StatusOK {
		return "status " + strconv.Itoa(status)
	}
	if !bytes.Contains(body, request.expect) {
		w.wrong++
		if len(w.shown) < listed {
			w.shown = append(w.shown, request.name+" expects "+string(request.expect)+": "+string(body))
		}
	}
	if w.answer.ConnectionClose() {
		w.close()
	}
	return ""
}

func (w *worker) connect() bool {
	conn, err := net.DialTimeout("tcp", w.address, w.timeout)
	if err != nil {
		return false
	}
	w.conn, w.reader = conn, bufio.NewReaderSize(conn, 16<<10)
	return true
}

func (w *worker) close() {
	if w.conn != nil {
		// What a connection that is not needed any more says on closing is of no interest.
		_ = w.conn.Close()
		w.conn = nil
	}
}

func summary(workers []*worker, late *hdrhistogram.Histogram, began time.Time) Report {
	latency, service := histogram(), histogram()
	report := Report{Errors: map[string]int64{}, WrongShown: []string{}}
	last := began
	for _, one := range workers {
		latency.Merge(one.latency)
		service.Merge(one.service)
		report.Wrong += one.wrong
		for failure, count := range one.errors {
			report.Errors[failure] += count
		}
		report.WrongShown = append(report.WrongShown, one.shown[:min(len(one.shown), listed-len(report.WrongShown))]...)
		if one.last.After(last) {
			last = one.last
		}
	}
	report.Requests = latency.TotalCount()
	report.Seconds = last.Sub(began).Seconds()
	report.Rate = float64(report.Requests) / max(report.Seconds, 1e-9)
	report.Latency, report.Service, report.Late = quantiles(latency), quantiles(service), quantiles(late)
	return report
}

func histogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, 3) }

func record(into *hdrhistogram.Histogram, took time.Duration) {
	// In range by construction, so it cannot be refused.
	_ = into.RecordValue(min(max(took.Microseconds(), 1), longest))
}

func quantiles(of *hdrhistogram.Histogram) map[string]float64 {
	found := map[string]float64{"max": float64(of.Max()) / 1000, "mean": of.Mean() / 1000}
	for name, quantile := range map[string]float64{"p50": 50, "p95": 95, "p99": 99, "p999": 99.9} {
		found[name] = float64(of.ValueAtQuantile(quantile)) / 1000
	}
	return found
}

// answer serves the shortest answer that every request can get: what the generator itself can send.
func answer(address string) error {
	return fasthttp.ListenAndServe(address, func(context *fasthttp.RequestCtx) {
		context.SetContentType("application/json")
		context.SetBodyString(`{"status":"approved"}`)
	})
}
