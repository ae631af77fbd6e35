package azure

import (
	"context"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v11"

	"pgrex/lib/azure"
	"pgrex/lib/cloud"
)

// moveFeature is what a subscription is registered for to know moveIpConfigurations.
const moveFeature = "Microsoft.Network/AllowMoveIpConfigurations"

// move lets ARM move the ipConfiguration in one operation.
func (a *acquire) move(ctx context.Context, own, src nic, cfg config) error {
	what := fmtWhat("moving %s from %s to %s", a.address, src.describe(), own.describe())
	a.o.Log.Info(what)
	if err := a.state.edit(a.address, func(r *record) { r.Flight = &flight{} }); err != nil {
		a.o.Log.Warn("what is about to be done cannot be remembered: " + err.Error())
	}
	// If the answer is lost this is still what happened.
	a.moved = true
	header, err := a.sendMove(ctx, networkOf(own.subnet()), src.id+"/ipConfigurations/"+cfg.name(), own.id+"/ipConfigurations/"+own.freeName(a.address))
	if err == nil {
		return a.claim(ctx, header, own)
	}
	err = a.explain(ctx, err, what, networkOf(own.subnet()))
	f := refusalIn(err)
	if f != nil && (f.Has("InvalidResourceReference") || f.Has("IpConfigAlreadyExists")) && a.moves < manyMoves {
		// It is not as it was seen: somebody else was faster, or we were, and the answer was lost.
		a.moves++
		return classified(&azure.Error{Class: azure.Locked, Err: err, Text: err.Error()})
	}
	if f == nil || !unknownMove(f) && (passing(err) || f.Code == "ScopeLocked") && !a.weary(own, src) {
		return err
	}
	if a.method == Move {
		if unknownMove(f) {
			return fault(cloud.Configuration, "%w; register the subscription for %s, or set move_method=auto", err, moveFeature)
		}
		return err
	}
	// Nothing has happened yet, so that the longer way is open.
	a.method, a.moved = Put, false
	if unknownMove(f) {
		a.o.Log.Info(fmtWhat("moveIpConfigurations is not to be had here (%s); for a day both network interfaces are changed instead", f.Words()))
		if err := a.state.refuseMove(); err != nil {
			a.o.Log.Warn("that cannot be remembered: " + err.Error())
		}
	} else {
		a.o.Log.Warn(err.Error() + "; changing both network interfaces instead")
	}
	return a.takeFrom(ctx, own, src, cfg)
}

// manyMoves is how often a move is tried that is said to be locked while nothing is seen to be changing.
const manyMoves = 5

// weary says that the move was refused too often as locked without a reason to be seen: what this cloud means
// by it is something else.
func (a *acquire) weary(own, src nic) bool {
	if !own.settled() || !src.settled() {
		return false
	}
	a.moves++
	return a.method == Auto && a.moves >= manyMoves
}

// sendMove makes the call, by the SDK, of which only the answer's header is used: how the operation goes we
// look up ourselves.
func (p *Provider) sendMove(ctx context.Context, vnet, from, into string) (http.Header, error) {
	subscription, group := azure.GroupOf(vnet)
	cred, options := p.arm.Typed("")
	client, err := armnetwork.NewVirtualNetworksClient(subscription, cred, options)
	if err != nil {
		return nil, err
	}
	var resp *http.Response
	_, err = client.BeginMoveIPConfigurations(policy.WithCaptureResponse(ctx, &resp), group, vnet[strings.LastIndex(vnet, "/")+1:], armnetwork.MoveIPConfigurationsRequest{
		MoveIPConfigurationItems: []*armnetwork.MoveIPConfigurationItem{{
			SourceIPConfiguration: &armnetwork.MoveIPConfigurationResourceReference{ID: to.Ptr(from)},
			TargetIPConfiguration: &armnetwork.MoveIPConfigurationResourceReference{ID: to.Ptr(into)},
		}},
	}, nil)
	// What the SDK makes of the headers does not count.
	if resp != nil && resp.StatusCode >= 200 && resp.StatusCode < 300 {
		p.arm.Answered = true
		return resp.Header, nil
	}
	return nil, err
}

// unknownMove says whether a refusal means that this cloud, region, subscription or role has no
// moveIpConfigurations, as opposed to that this one move does not go.
func unknownMove(f *azure.Refusal) bool {
	if f.Status == http.StatusNotFound || f.Status == http.StatusMethodNotAllowed {
		return f.Code != "ResourceGroupNotFound" && f.Code != "SubscriptionNotFound"
	}
	if right, _ := f.Right(); f.Status == http.StatusForbidden && strings.HasSuffix(strings.ToLower(right), "/moveipconfigurations/action") {
		return true
	}
	for _, part := range []string{"Feature", "NotRegistered", "NoRegisteredProvider", "ApiVersion", "InvalidResourceType", "NotImplemented", "MethodNotAllowed"} {
		if strings.Contains(f.Code, part) {
			return true
		}
	}
	return false
}
