package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/spf13/pflag"

	"github.com/cert-manager/cert-manager/pkg/issuer/acme/http/solver"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
)

// runSolver is the pod that answers one question of ACME until it is told to end.
func runSolver(ctx context.Context, flags *pflag.FlagSet) error {
	answer := &solver.HTTP01Solver{}
	flags.IntVar(&answer.ListenPort, "listen-port", 8089, "where it answers")
	flags.StringVar(&answer.Domain, "domain", "", "the host that is asked about")
	flags.StringVar(&answer.Token, "token", "", "the question")
	flags.StringVar(&answer.Key, "key", "", "the answer")
	if err := parse(flags); err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		_ = answer.Close()
	}()
	if err := answer.Listen(logf.Log); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
