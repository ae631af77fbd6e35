package main

import (
	"context"
	"net/http"
	"time"

	"pgrex/lib/stonith"
)

const (
	metadataURL = "http://169.254.169.254/metadata/instance?api-version=2021-02-01"
	// metadataPatience bounds one request to the service, which is on the same host.
	metadataPatience = 3 * time.Second
)

// instance is what the instance metadata service says of the machine we run on.
type instance struct {
	Name           string `json:"name"`
	ResourceGroup  string `json:"resourceGroupName"`
	SubscriptionID string `json:"subscriptionId"`
}

// ownInstance asks the instance metadata service.
func ownInstance(ctx context.Context, local *http.Client) (instance, error) {
	var doc struct {
		Compute instance `json:"compute"`
	}
	err := look(ctx, local, metadataURL, http.Header{"Metadata": {"true"}}, metadataPatience, &doc)
	return doc.Compute, err
}

// findGroup settles subscription and resource group.
func findGroup(ctx context.Context, c *stonith.Call, local *http.Client) (subscription, group string, err error) {
	subscription, group = c.Values.String("subscriptionId"), c.Values.String("resourceGroup")
	if subscription != "" && group != "" {
		return subscription, group, nil
	}
	missing := "resourceGroup is not set"
	if subscription == "" {
		missing = "subscriptionId is not set"
	}
	own, err := ownInstance(ctx, local)
	if err != nil {
		return "", "", stonith.Errorf(stonith.Login, "%s and the instance metadata service (169.254.169.254) does not tell it: %w; set it, or see why this machine does not reach the service", missing, plain(err))
	}
	if subscription == "" {
		subscription = own.SubscriptionID
	}
	if group == "" {
		group = own.ResourceGroup
	}
	if subscription == "" || group == "" {
		return "", "", stonith.Errorf(stonith.Login, "%s and the instance metadata do not contain it; set it", missing)
	}
	return subscription, group, nil
}

// rest waits, or says why it did not.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
