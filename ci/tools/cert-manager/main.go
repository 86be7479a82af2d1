// cert-manager in one program: the controller, the webhook, the CA injector and the solver of ACME's questions, chosen
// by the first argument.
//
// Upstream's own programs are modules that no proxy serves. This one calls the same exported functions, for the
// issuers self-signed, CA and ACME. Its module's path lies below upstream's, which lets it use upstream's internal
// packages, as upstream's own programs do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	logsapi "k8s.io/component-base/logs/api/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cert-manager/cert-manager/internal/webhook"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/webhook/options"
)

func main() {
	roles := map[string]func(context.Context, *pflag.FlagSet) error{
		"controller": runController,
		"webhook":    runWebhook,
		"cainjector": runInjector,
		"acmesolver": runSolver,
	}
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		fail(errors.New("give one of controller, webhook, cainjector and acmesolver as the first argument"))
	}
	name := os.Args[1]
	logf.InitLogs()
	defer logf.FlushLogs()
	ctrl.SetLogger(logf.Log)
	if err := roles[name](ctrl.SetupSignalHandler(), pflag.NewFlagSet(name, pflag.ExitOnError)); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// parse reads the flags of the command line, with those of the log among them.
func parse(flags *pflag.FlagSet) error {
	logging := logsapi.NewLoggingConfiguration()
	logf.AddFlags(logging, flags)
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	return logf.ValidateAndApply(logging)
}

func runWebhook(ctx context.Context, flags *pflag.FlagSet) error {
	config, err := options.NewWebhookConfiguration()
	if err != nil {
		return err
	}
	options.AddConfigFlags(flags, config)
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	if err := logf.ValidateAndApply(&config.Logging); err != nil {
		return err
	}
	server, err := webhook.NewCertManagerWebhookServer(logf.Log, *config)
	if err != nil {
		return err
	}
	return server.Run(ctx)
}
