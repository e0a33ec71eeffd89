// Flannel is the CNI plugin that a network of type "flannel" names. It joins a pod to its machine's subnet, which flanneld
// wrote into /run/flannel/subnet.env, by the bridge and host-local plugins.
//
// What a pod was joined with is kept, so that it can be taken away again after a reboot, when flanneld has not written
// that file yet.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

type config struct {
	types.NetConf
	SubnetFile string         `json:"subnetFile"`
	DataDir    string         `json:"dataDir"`
	Delegate   map[string]any `json:"delegate"`
}

type subnet struct {
	network, subnet string
	mtu             int
	masquerades     bool // flanneld does it, so the bridge need not
}

func main() {
	skel.PluginMainFuncs(
		skel.CNIFuncs{Add: add, Check: check, Del: remove, Status: status}, version.All, "flannel CNI plugin of rackbox",
	)
}

func add(args *skel.CmdArgs) error {
	conf, err := readConfig(args.StdinData)
	if err != nil {
		return err
	}
	found, err := readSubnet(conf.SubnetFile)
	if err != nil {
		return err
	}
	delegate, err := makeDelegate(conf, found)
	if err != nil {
		return err
	}
	if err := keep(conf.kept(args.ContainerID), delegate); err != nil {
		return err
	}
	result, err := invoke.DelegateAdd(context.Background(), typeOf(conf), delegate, nil)
	if err != nil {
		return err
	}
	return result.Print()
}

func check(args *skel.CmdArgs) error {
	conf, err := readConfig(args.StdinData)
	if err != nil {
		return err
	}
	delegate, err := os.ReadFile(conf.kept(args.ContainerID))
	if err != nil {
		return fmt.Errorf("this container was not joined: %w", err)
	}
	var document map[string]json.RawMessage
	var given struct {
		PrevResult json.RawMessage `json:"prevResult"`
	}
	if err := errors.Join(json.Unmarshal(delegate, &document), json.Unmarshal(args.StdinData, &given)); err != nil {
		return err
	}
	if given.PrevResult != nil {
		document["prevResult"] = given.PrevResult
	}
	if delegate, err = json.Marshal(document); err != nil {
		return err
	}
	return invoke.DelegateCheck(context.Background(), typeOf(conf), delegate, nil)
}

// remove may be called more than once, and for what was never there: neither is an error (CNI specification, DEL).
func remove(args *skel.CmdArgs) error {
	conf, err := readConfig(args.StdinData)
	if err != nil {
		return err
	}
	kept := conf.kept(args.ContainerID)
	delegate, err := os.ReadFile(kept)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := invoke.DelegateDel(context.Background(), typeOf(conf), delegate, nil); err != nil {
		return err
	}
	return os.Remove(kept)
}

func status(args *skel.CmdArgs) error {
	conf, err := readConfig(args.StdinData)
	if err != nil {
		return err
	}
	if _, err := readSubnet(conf.SubnetFile); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, "flanneld has no subnet yet", err.Error())
	}
	return nil
}

func readConfig(data []byte) (*config, error) {
	conf := &config{SubnetFile: "/run/flannel/subnet.env", DataDir: "/var/lib/cni/flannel"}
	if err := json.Unmarshal(data, conf); err != nil {
		return nil, fmt.Errorf("the network's configuration: %w", err)
	}
	return conf, nil
}

func (conf *config) kept(container string) string { return filepath.Join(conf.DataDir, container) }

func typeOf(conf *config) string {
	if name, ok := conf.Delegate["type"].(string); ok {
		return name
	}
	return "bridge"
}

func makeDelegate(conf *config, found *subnet) ([]byte, error) {
	delegate := map[string]any{"mtu": found.mtu, "ipMasq": !found.masquerades}
	if typeOf(conf) == "bridge" {
		delegate["isGateway"] = true
	}
	for key, value := range conf.Delegate { // what the network's configuration says goes first
		delegate[key] = value
	}
	delegate["name"], delegate["cniVersion"], delegate["type"] = conf.Name, conf.CNIVersion, typeOf(conf)
	delegate["ipam"] = map[string]any{
		"type":   "host-local",
		"ranges": []any{[]any{map[string]any{"subnet": found.subnet}}},
		"routes": []any{map[string]any{"dst": found.network}},
	}
	return json.Marshal(delegate)
}

func readSubnet(path string) (*subnet, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("flanneld's subnet: %w", err)
	}
	defer file.Close()
	values := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			values[key] = value
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	_, network, err := net.ParseCIDR(values["FLANNEL_NETWORK"])
	if err != nil {
		return nil, fmt.Errorf("%s: FLANNEL_NETWORK: %w", path, err)
	}
	_, own, err := net.ParseCIDR(values["FLANNEL_SUBNET"])
	if err != nil {
		return nil, fmt.Errorf("%s: FLANNEL_SUBNET: %w", path, err)
	}
	mtu, err := strconv.Atoi(values["FLANNEL_MTU"])
	if err != nil {
		return nil, fmt.Errorf("%s: FLANNEL_MTU: %w", path, err)
	}
	return &subnet{network.String(), own.String(), mtu, values["FLANNEL_IPMASQ"] == "true"}, nil
}

func keep(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, content, 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}
