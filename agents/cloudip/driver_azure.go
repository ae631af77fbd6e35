//go:build !lan

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	lib "pgrex/lib/azure"
	"pgrex/lib/azure/names"
	"pgrex/lib/cloud"
	"pgrex/lib/cloud/azure"
	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// maxSecret bounds what is read of a file with a secret.
const maxSecret = 1 << 16

// handOver does nothing: this program has every driver.
func handOver() {}

// buildAzure makes the driver. It makes no request.
func buildAzure(_ context.Context, c *ocf.Call) (cloud.Provider, error) {
	conf := newConfig(c)
	p := c.Params
	if err := fitAzure(c); err != nil {
		return nil, err
	}
	who, err := azureIdentity(c)
	if err != nil {
		return nil, err
	}
	words := associations(p.String("preserve_associations"))
	return azure.New(azure.Options{
		Azure: lib.Options{
			Program: "pgrex-cloudip", Cloud: strings.ToLower(p.String("cloud")), MetadataEndpoint: p.String("metadata_endpoint"),
			Identity: who, RequestTimeout: p.Duration("request_timeout"), Log: c.Log, Hide: c.Hide,
			// The metadata service answers to the primary address only, and the virtual one may leave.
			Wire: lib.Wire{Avoid: []netip.Addr{conf.ip}},
		},
		SubscriptionID: p.String("subscriptionId"), ResourceGroup: p.String("resourceGroup"),
		NIC: p.String("nic_id"), MAC: hardwareOf(conf), Method: azure.Method(p.String("move_method")),
		Preserve: azure.Preserve{ASG: slices.Contains(words, "asg"), PublicIP: slices.Contains(words, "pip"), LB: slices.Contains(words, "lb")},
		StateDir: stateDir, Log: c.Log,
	}), nil
}

// azureIdentity is who the parameters say we are, with the proofs read from their files.
func azureIdentity(c *ocf.Call) (lib.Identity, error) {
	p := c.Params
	user := p.String("username")
	if user == "" {
		return lib.Identity{Managed: p.String("identity")}, nil
	}
	who := lib.Identity{
		Application: user, Tenant: p.String("tenantId"),
		CertificateFile: p.String("certificate_file"), FederatedTokenFile: p.String("federated_token_file"),
	}
	if file := p.String("password_file"); file != "" {
		secret, err := readSecret(file)
		if err != nil {
			return who, unproven("password_file", err)
		}
		who.Secret = strings.TrimRight(secret, "\r\n")
		c.Hide(who.Secret)
	}
	if who.CertificateFile != "" {
		if err := private(who.CertificateFile); err != nil {
			return who, unproven("certificate_file", err)
		}
	}
	return who, nil
}

// unproven is the error of a file that proves who we are. It is this node's file: an answer that stops
// the resource on all nodes would be wrong.
func unproven(name string, err error) error {
	return &cloud.Error{Class: cloud.Permission, Err: fmt.Errorf("%s: %w", name, err)}
}

// fitAzure looks at the parameters together.
func fitAzure(c *ocf.Call) error {
	p := c.Params
	refuse := func(format string, a ...any) error {
		return &cloud.Error{Class: cloud.Configuration, Err: fmt.Errorf(format, a...)}
	}
	proofs := []string{"password_file", "certificate_file", "federated_token_file"}
	switch user := p.String("username"); {
	case strings.EqualFold(p.String("cloud"), names.Stack) && p.String("metadata_endpoint") == "":
		return refuse("cloud=stack needs metadata_endpoint, the URL of that cloud's Resource Manager")
	case user != "" && p.String("identity") != "":
		return refuse("username and identity name two identities; set one of them")
	case user != "" && p.String("tenantId") == "":
		return refuse("username needs tenantId, the directory in which the application is registered")
	case user != "" && !slices.ContainsFunc(proofs, func(n string) bool { return p.String(n) != "" }):
		return refuse("username is set, but nothing to prove it by: set password_file, certificate_file or federated_token_file")
	case user == "":
		for _, n := range proofs {
			if p.String(n) != "" {
				return refuse("%s needs username, the application's client ID", n)
			}
		}
	}
	return nil
}

// hardwareOf is the hardware address of the device named in nic, "" if none is named or there is no such
// device here.
func hardwareOf(conf config) string {
	if conf.nic == "" {
		return ""
	}
	ns, err := netif.Open(conf.namespace)
	if err != nil {
		return ""
	}
	defer func() { _ = ns.Close() }()
	links, err := ns.Links()
	if err != nil {
		return ""
	}
	return hardwareIn(links, conf.nic)
}

// hardwareIn finds it also by an alternative name, by which start puts the address on it.
func hardwareIn(links []netif.Link, nic string) string {
	for _, l := range links {
		if l.Is(nic) {
			return l.Hardware.String()
		}
	}
	return ""
}

// readSecret reads a file that only root can read.
func readSecret(name string) (string, error) {
	// O_NONBLOCK: a FIFO that nobody writes must not hang the action.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if err := guarded(info, name); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	return string(b), err
}

// private says whether a file is for root alone.
func private(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	return guarded(info, name)
}

func guarded(info os.FileInfo, name string) error {
	switch s, ok := info.Sys().(*syscall.Stat_t); {
	case !info.Mode().IsRegular():
		return errors.New(name + " is not a file")
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s can be read by others (%v); chmod 600 %s", name, info.Mode().Perm(), name)
	case ok && s.Uid != 0:
		return fmt.Errorf("%s does not belong to root; chown root %s", name, name)
	}
	return nil
}
