package main

import (
	"context"
	"log"
	"path/filepath"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// registrar tells the kubelet, which finds its socket, where this driver answers.
type registrar struct {
	registerapi.UnsafeRegistrationServer
	endpoint string
}

// register serves in a directory that the kubelet watches, until the context ends.
func register(ctx context.Context, directory, endpoint string) error {
	listener, err := listen(filepath.Join(directory, driverName+"-reg.sock"))
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	registerapi.RegisterRegistrationServer(server, &registrar{endpoint: endpoint})
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	go func() {
		if err := server.Serve(listener); err != nil {
			log.Printf("registration: %v", err)
		}
	}()
	return nil
}

func (r *registrar) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type: registerapi.CSIPlugin, Name: driverName, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r *registrar) NotifyRegistrationStatus(
	_ context.Context, status *registerapi.RegistrationStatus,
) (*registerapi.RegistrationStatusResponse, error) {
	if status.PluginRegistered {
		log.Print("registered with the kubelet")
	} else {
		log.Printf("the kubelet does not take this driver: %s", status.Error)
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}
