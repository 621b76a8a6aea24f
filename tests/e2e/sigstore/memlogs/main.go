// memlogs is a CT log and the back end of Rekor v1 in one process, for the end-to-end tests: the real
// Trillian log server and sequencer over Trillian's own in-memory storage, and the real CT front end
// over that. So no database is needed. What it holds is gone when it ends; nobody needs it to verify.
//
//	memlogs -grpc ADDR -http ADDR -roots CA.pem -key CT.pem -tree FILE
//
// The number of Rekor's tree is written to FILE once both addresses answer.
package main

import (
	"context"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/certificate-transparency-go/trillian/ctfe"
	"github.com/google/certificate-transparency-go/trillian/ctfe/cache"
	"github.com/google/certificate-transparency-go/trillian/ctfe/configpb"
	"github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/crypto/keys"
	"github.com/google/trillian/crypto/keys/der"
	"github.com/google/trillian/crypto/keyspb"
	"github.com/google/trillian/extension"
	tlog "github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage"
	_ "github.com/google/trillian/storage/memory" // registers "memory"
	"github.com/google/trillian/util/clock"
	"github.com/google/trillian/util/election2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/klog/v2"
)

// How long an entry may wait until it is in the tree: each signature waits for that.
const sequencerInterval = 100 * time.Millisecond

func main() {
	grpcAddr := flag.String("grpc", "", "address of Trillian's gRPC service")
	httpAddr := flag.String("http", "", "address of the CT log, which lies at /ct")
	roots := flag.String("roots", "", "PEM file of the CAs whose certificates the CT log takes")
	key := flag.String("key", "", "PEM file (PKCS #8, not encrypted) of the CT log's key")
	tree := flag.String("tree", "", "file for the number of Rekor's tree")
	flag.Parse()
	// The sequencer warns whenever it has nothing to do.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	klog.SetOutputBySeverity("ERROR", os.Stderr)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	trees := startTrillian(ctx, *grpcAddr)
	serveCT(ctx, trees, *httpAddr, *roots, *key)
	check(os.WriteFile(*tree, fmt.Append(nil, trees.create(ctx, "rekor")), 0o644))
	<-ctx.Done()
}

// forest is a connection to Trillian.
type forest struct {
	admin trillian.TrillianAdminClient
	log   trillian.TrillianLogClient
}

func startTrillian(ctx context.Context, address string) forest {
	memory, err := storage.NewProvider("memory", monitoring.InertMetricFactory{})
	check(err)
	registry := extension.Registry{
		AdminStorage:    memory.AdminStorage(),
		LogStorage:      memory.LogStorage(),
		ElectionFactory: election2.NoopFactory{}, // one process: always the master
		QuotaManager:    quota.Noop(),
		MetricFactory:   monitoring.InertMetricFactory{},
	}
	rpc := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianAdminServer(rpc, admin.New(registry, nil))
	trillian.RegisterTrillianLogServer(rpc, server.NewTrillianLogRPCServer(registry, clock.System))
	listener := listen(address)
	go func() { check(rpc.Serve(listener)) }()

	sequencer := tlog.NewOperationManager(tlog.OperationInfo{
		Registry: registry, BatchSize: 50, NumWorkers: 1,
		RunInterval: sequencerInterval, TimeSource: clock.System,
	}, tlog.NewSequencerManager(registry, 0))
	go sequencer.OperationLoop(ctx)

	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	return forest{trillian.NewTrillianAdminClient(connection), trillian.NewTrillianLogClient(connection)}
}

// create makes an empty log and gives its number.
func (f forest) create(ctx context.Context, name string) int64 {
	tree, err := client.CreateAndInitTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
		TreeState: trillian.TreeState_ACTIVE, TreeType: trillian.TreeType_LOG,
		DisplayName: name, MaxRootDuration: durationpb.New(0),
	}}, f.admin, f.log)
	check(err)
	return tree.TreeId
}

func serveCT(ctx context.Context, trees forest, address, roots, keyFile string) {
	keys.RegisterHandler(&keyspb.PrivateKey{}, der.FromProto)
	text, err := os.ReadFile(keyFile)
	check(err)
	block, _ := pem.Decode(text)
	key, err := anypb.New(&keyspb.PrivateKey{Der: block.Bytes})
	check(err)
	config, err := ctfe.ValidateLogConfig(&configpb.LogConfig{
		LogId: trees.create(ctx, "ct"), Prefix: "ct", RootsPemFile: []string{roots},
		PrivateKey: key, ExtKeyUsages: []string{"CodeSigning"},
	})
	check(err)
	instance, err := ctfe.SetUpInstance(ctx, ctfe.InstanceOptions{
		Validated: config, Client: trees.log, Deadline: 10 * time.Second,
		MetricFactory: monitoring.InertMetricFactory{}, RequestLog: new(ctfe.DefaultRequestLog),
		CacheType: cache.NOOP,
	})
	check(err)
	mux := http.NewServeMux()
	for path, handler := range instance.Handlers {
		mux.Handle(path, handler)
	}
	listener := listen(address)
	go func() { check(http.Serve(listener, mux)) }()
}

func listen(address string) net.Listener {
	listener, err := net.Listen("tcp", address)
	check(err)
	return listener
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
