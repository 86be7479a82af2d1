package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/resource"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metrics "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cert-manager/cert-manager/pkg/controller"
	_ "github.com/cert-manager/cert-manager/pkg/controller/acmechallenges"
	_ "github.com/cert-manager/cert-manager/pkg/controller/acmeorders"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/acme"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/metrics"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/acme"
	dnsutil "github.com/cert-manager/cert-manager/pkg/issuer/acme/dns/util"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

// As upstream's defaults.
const (
	workers       = 5
	queries       = 20
	burst         = 50
	challenges    = 60
	dnsPeriod     = 10 * time.Second
	solverCPU     = "100m"
	solverLeast   = "10m"
	solverMemory  = "64Mi"
	metricsListen = "0.0.0.0:9402"
	healthListen  = "0.0.0.0:9403"
)

func runController(ctx context.Context, flags *pflag.FlagSet) error {
	resources := flags.String("cluster-resource-namespace", "kube-system", "where the Secrets of ClusterIssuers are")
	leader := flags.String("leader-election-namespace", "", "where the Lease of the leader is")
	image := flags.String("acme-http01-solver-image", "", "the image of the pods that answer ACME")
	most := flags.Int("max-concurrent-challenges", challenges, "how many questions of ACME are answered at once")
	gateway := flags.Bool("enable-gateway-api", false, "whether ACME is answered through Gateways too")
	if err := parse(flags); err != nil {
		return err
	}
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		KubernetesAPIQPS:   queries,
		KubernetesAPIBurst: burst,
		IssuerOptions:      controller.IssuerOptions{ClusterResourceNamespace: *resources},
		ACMEOptions: controller.ACMEOptions{
			HTTP01SolverImage:                 *image,
			HTTP01SolverResourceRequestCPU:    resource.MustParse(solverLeast),
			HTTP01SolverResourceRequestMemory: resource.MustParse(solverMemory),
			HTTP01SolverResourceLimitsCPU:     resource.MustParse(solverCPU),
			HTTP01SolverResourceLimitsMemory:  resource.MustParse(solverMemory),
			ACMEHTTP01SolverRunAsNonRoot:      true,
			DNS01CheckAuthoritative:           true,
			DNS01Nameservers:                  dnsutil.RecursiveNameservers,
			DNS01CheckRetryPeriod:             dnsPeriod,
		},
		SchedulerOptions: controller.SchedulerOptions{MaxConcurrentChallenges: *most},
		ConfigOptions:    controller.ConfigOptions{EnableGatewayAPI: *gateway},
		CertificateOptions: controller.CertificateOptions{
			CopiedAnnotationPrefixes:                 []string{"*", "-kubectl.kubernetes.io/"},
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	})
	if err != nil {
		return err
	}
	// The manager brings the Lease and the probe; controllers and metrics are cert-manager's own.
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		LeaderElection:                true,
		LeaderElectionID:              "cert-manager-controller",
		LeaderElectionNamespace:       *leader,
		LeaderElectionReleaseOnCancel: true,
		HealthProbeBindAddress:        healthListen,
		LivenessEndpointName:          "/livez",
		Metrics:                       metrics.Options{BindAddress: "0"},
	})
	if err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	lead := manager.RunnableFunc(func(ctx context.Context) error { return runControllers(ctx, factory) })
	if err := mgr.Add(lead); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

func runControllers(ctx context.Context, factory *controller.ContextFactory) error {
	shared, err := factory.Build()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for name, construct := range controller.Known() {
		one, err := construct(factory)
		if err != nil {
			return fmt.Errorf("controller %s: %w", name, err)
		}
		group.Go(func() error { return one.Run(workers, ctx) })
	}
	listener, err := net.Listen("tcp", metricsListen)
	if err != nil {
		return err
	}
	certificates := shared.SharedInformerFactory.Certmanager().V1().Certificates()
	shared.Metrics.SetupCertificateCollector(certificates.Lister())
	server := shared.Metrics.NewServer(listener)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	shared.SharedInformerFactory.Start(ctx.Done())
	shared.KubeSharedInformerFactory.Start(ctx.Done())
	shared.HTTP01ResourceMetadataInformersFactory.Start(ctx.Done())
	if shared.GatewaySolverEnabled {
		shared.GWShared.Start(ctx.Done())
	}
	return group.Wait()
}
