// Gluster-csi is a CSI driver whose volumes are directories of one Gluster volume, each with a limit to its size that
// Gluster's servers enforce.
//
// Beside the external-provisioner (--controller) it makes and removes directories; on each node, beside the kubelet, it
// mounts the Gluster volume once and binds a directory of it into each pod. That mount belongs to the machine's systemd:
// pods keep their volumes when this program is restarted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

const driverName = "gluster.csi.rackbox"

// Set at link time.
var version = "0.0.0"

func main() {
	log.SetFlags(0) // the runtime has the time
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	endpoint := flag.String("endpoint", "/csi/csi.sock", "the socket to serve on")
	isController := flag.Bool("controller", false, "make and remove volumes, instead of mounting them on this node")
	node := flag.String("node", "", "this node's name")
	servers := flag.String("servers", "", "the Gluster servers, separated by commas")
	name := flag.String("volume", "", "the Gluster volume")
	base := flag.String("directory", "kubernetes", "the directory of the Gluster volume that holds all of ours")
	state := flag.String("state", "/var/lib/kubelet/plugins/"+driverName, "where the Gluster volume is mounted below")
	host := flag.String("host", "/host", "where the machine's root is")
	registration := flag.String("registration", "", "where the kubelet looks for plugins; empty for none")
	announced := flag.String("kubelet-endpoint", "", "the socket as the kubelet sees it")
	flag.Parse()
	if *servers == "" || *name == "" {
		return errors.New("--servers and --volume: must be given")
	}

	volume := &glusterVolume{
		servers: strings.Split(*servers, ","), name: *name, host: *host, where: filepath.Join(*state, "volume"),
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(logErrors))
	csi.RegisterIdentityServer(server, &identity{})
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if *isController {
		volume.where, volume.helper = filepath.Join(*state, "control"), true
		csi.RegisterControllerServer(server, &controller{
			claims: &directories{volume: volume, base: *base}, busy: newLocks(),
		})
	} else {
		if *node == "" {
			return errors.New("--node: must be given")
		}
		csi.RegisterNodeServer(server, &nodeService{
			claims: &directories{volume: volume, base: *base}, name: *node, busy: newLocks(),
		})
	}
	listener, err := listen(*endpoint)
	if err != nil {
		return err
	}
	if *registration != "" {
		if err := register(ctx, *registration, *announced); err != nil {
			return err
		}
	}
	go func() {
		<-ctx.Done()
		server.GracefulStop()
	}()
	log.Printf("%s %s serves on %s", driverName, version, *endpoint)
	return server.Serve(listener)
}

// listen opens a socket for root alone. One of that name is what an earlier run left.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("the socket: %w", err)
	}
	return listener, os.Chmod(path, 0o600)
}

func logErrors(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler,
) (any, error) {
	response, err := handler(ctx, request)
	if err != nil {
		log.Printf("%s: %v", filepath.Base(info.FullMethod), err)
	}
	return response, err
}
