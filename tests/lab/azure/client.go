package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	fake "pgrex/tests/fakes/azure"
)

// Client gives orders to the cloud of a lab from another process, over the unix
// socket that serves its Control.
type Client struct {
	http *http.Client
}

// NewClient makes a client for a socket. It connects for each order.
func NewClient(socket string) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// do sends an order and decodes the answer into out, if that is not nil.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://azure"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("the lab's Azure does not answer: %w", err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New("the lab's Azure: " + string(bytes.TrimSpace(data)))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// Script adds a fault.
func (c *Client) Script(ctx context.Context, f fake.Fault) error {
	return c.do(ctx, http.MethodPost, "/faults", f, nil)
}

// ClearFaults forgets all faults.
func (c *Client) ClearFaults(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/faults", nil, nil)
}

// SetLatency changes how long things take from now on.
func (c *Client) SetLatency(ctx context.Context, l fake.Latency) error {
	return c.do(ctx, http.MethodPut, "/latency", l, nil)
}

// SetMove says whether ipConfigurations can be moved in one call.
func (c *Client) SetMove(ctx context.Context, m fake.Move) error {
	return c.do(ctx, http.MethodPut, "/move", m, nil)
}

// Requests are all requests so far.
func (c *Client) Requests(ctx context.Context) ([]fake.Request, error) {
	var all []fake.Request
	err := c.do(ctx, http.MethodGet, "/requests", nil, &all)
	return all, err
}

// Bindings are all changes of the data plane so far.
func (c *Client) Bindings(ctx context.Context) ([]fake.Binding, error) {
	var all []fake.Binding
	err := c.do(ctx, http.MethodGet, "/bindings", nil, &all)
	return all, err
}

// VMs are the machines as they are now.
func (c *Client) VMs(ctx context.Context) ([]fake.VM, error) {
	var all []fake.VM
	err := c.do(ctx, http.MethodGet, "/vms", nil, &all)
	return all, err
}
