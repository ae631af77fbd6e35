// azuresim is the stand-in for Azure as a program of its own. It runs until it is
// told to stop by a signal.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"pgrex/lib/proc"
	"pgrex/tests/fakes/azure"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "azuresim:", err)
		os.Exit(1)
	}
}

// settings are the options of the command line.
type settings struct {
	config, ca, control, power string
	arm, imds                  list
}

// list is an option that may be given several times.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

// Set adds a value.
func (l *list) Set(s string) error {
	*l = append(*l, s)
	return nil
}

func run(ctx context.Context, args []string) (err error) {
	var s settings
	flags := flag.NewFlagSet("azuresim", flag.ContinueOnError)
	flags.StringVar(&s.config, "config", "", "`file` with the cloud's Config as JSON")
	flags.StringVar(&s.ca, "ca", "", "`file` that gets the certificate authority, for SSL_CERT_FILE")
	flags.StringVar(&s.control, "control", "", "unix `socket` of the control interface")
	flags.StringVar(&s.power, "power", "", "`command` that switches machines; it gets the machine's name and on or off")
	flags.Var(&s.arm, "arm", "`address[@netns]` for ARM and the login endpoint (may be repeated)")
	flags.Var(&s.imds, "imds", "`group/vm=address[@netns]` for a machine's instance metadata (may be repeated)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	cloud, err := begin(s)
	if err != nil {
		return err
	}
	var servers []*azure.Server
	defer func() {
		for _, srv := range servers {
			err = errors.Join(err, srv.Close())
		}
		cloud.Close()
	}()
	if err := serve(ctx, s, cloud, &servers); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func begin(s settings) (*azure.Cloud, error) {
	var cfg azure.Config
	if s.config != "" {
		data, err := os.ReadFile(s.config)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &cfg); err != nil {
			return nil, fmt.Errorf("%s: %w", s.config, err)
		}
	}
	if s.power == "" {
		return azure.New(cfg, nil)
	}
	return azure.New(cfg, command{s.power, proc.OS{}})
}

func serve(ctx context.Context, s settings, cloud *azure.Cloud, servers *[]*azure.Server) error {
	ca, err := azure.NewAuthority()
	if err != nil {
		return err
	}
	for _, spec := range s.arm {
		l, err := azure.ListenAt(ctx, spec)
		if err != nil {
			return err
		}
		host, _, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return err
		}
		cert, err := ca.Certificate(host)
		if err != nil {
			return err
		}
		*servers = append(*servers, azure.Serve(l, cloud.Handler(), &cert))
		fmt.Println("arm", l.Addr())
	}
	for _, spec := range s.imds {
		vm, at, ok := strings.Cut(spec, "=")
		group, name, ok2 := strings.Cut(vm, "/")
		if !ok || !ok2 {
			return fmt.Errorf("-imds %s is not group/vm=address", spec)
		}
		l, err := azure.ListenAt(ctx, at)
		if err != nil {
			return err
		}
		*servers = append(*servers, azure.Serve(l, cloud.MetadataHandler(group, name), nil))
		fmt.Println("imds", vm, l.Addr())
	}
	if s.control != "" {
		l, err := new(net.ListenConfig).Listen(ctx, "unix", s.control)
		if err != nil {
			return err
		}
		*servers = append(*servers, azure.Serve(l, cloud.Control(), nil))
	}
	// Last of all: whoever waits for this file finds everything else ready.
	if s.ca != "" {
		return os.WriteFile(s.ca, ca.PEM(), 0o644)
	}
	return nil
}

// command is a Power that runs a program.
type command struct {
	path string
	run  proc.Runner
}

const switchTime = 30 * time.Second

// Switch runs the command with the machine's name and "on" or "off".
func (c command) Switch(ctx context.Context, vm string, on bool) error {
	ctx, cancel := context.WithTimeout(ctx, switchTime)
	defer cancel()
	word := "off"
	if on {
		word = "on"
	}
	res, err := c.run.Run(ctx, proc.Cmd{Path: c.path, Args: []string{vm, word}})
	if err != nil {
		return err
	}
	if res.ExitCode != 0 {
		return fmt.Errorf("%s %s %s: exit status %d: %s", c.path, vm, word, res.ExitCode, res.Message())
	}
	return nil
}
