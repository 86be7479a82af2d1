// load sends prepared requests to an HTTP server and measures the answers.
//
// With a rate it is an open-loop generator: requests fall due by a Poisson process whether or not the server
// keeps up, and a latency counts from the moment the request was due, so that a server which stalls cannot hide
// it (no coordinated omission). Without a rate every connection sends its next request after the last answer,
// which measures throughput. Every answer is compared with what its request expects.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
)

// target is one line of the file of requests.
type target struct {
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
	// Expect is a text that a right answer's body contains.
	Expect string `json:"expect"`
}

// prepared is a request as it goes over the wire.
type prepared struct {
	wire   []byte
	expect []byte
	name   string
}

func main() {
	var options options
	address := flag.String("address", "", "host:port of the server")
	targets := flag.String("targets", "", "file of requests, one JSON object a line, sent in this order again and again")
	serve := flag.String("serve", "", "instead of sending, answer every request at this host:port: the generator's own limit")
	flag.Float64Var(&options.rate, "rate", 0, "requests a second; 0 sends as fast as answers come")
	flag.DurationVar(&options.duration, "duration", 0, "how long to send; 0 sends -requests")
	flag.IntVar(&options.requests, "requests", 0, "how many requests to send; 0 sends for -duration")
	flag.IntVar(&options.connections, "connections", 64, "connections, kept open")
	flag.DurationVar(&options.timeout, "timeout", 10*time.Second, "when an answer counts as lost")
	flag.Parse()
	if err := run(*serve, *address, *targets, options); err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(2)
	}
}

func run(serve, address, targets string, options options) error {
	if serve != "" {
		return answer(serve)
	}
	if address == "" || targets == "" || (options.duration == 0) == (options.requests == 0) || options.connections < 1 {
		return fmt.Errorf("give -address, -targets, at least one of -connections, and either -duration or -requests")
	}
	prepared, err := read(targets, address)
	if err != nil {
		return err
	}
	before := processorSeconds()
	report := attack(address, prepared, options)
	report.ProcessorSeconds = processorSeconds() - before
	report.Processors = runtime.GOMAXPROCS(0)
	return json.NewEncoder(os.Stdout).Encode(report)
}

// read returns the file's requests, each with the bytes that go over the wire.
func read(path, address string) ([]prepared, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var found []prepared
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var one target
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, len(found)+1, err)
		}
		wire := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n",
			one.Path, address, len(one.Body))
		for name, value := range one.Headers {
			wire = fmt.Appendf(wire, "%s: %s\r\n", name, value)
		}
		wire = append(append(wire, '\r', '\n'), one.Body...)
		found = append(found, prepared{wire, []byte(one.Expect), string(one.Body)})
	}
	if len(found) == 0 && lines.Err() == nil {
		return nil, fmt.Errorf("%s holds no request", path)
	}
	return found, lines.Err()
}

func processorSeconds() float64 {
	var usage syscall.Rusage
	// Cannot fail: the arguments are constants.
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
