package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"pgrex/lib/azure/names"
	"pgrex/lib/life"
)

// maxAnswer bounds what is read of one small answer.
const maxAnswer = 1 << 20

// Place is one Azure: where its Resource Manager and its login endpoint are, and
// which versions of the API it surely knows.
type Place struct {
	cloud.Configuration
	// Compute and Network are API versions. They are older than those of the
	// SDK: new ones reach the sovereign clouds late and private clouds never.
	Compute, Network string
	// private clouds cannot be looked up at login.microsoftonline.com.
	private bool
	// adfs says that the login endpoint is AD FS, which has no tenants.
	adfs bool
}

// findPlace resolves the name of a cloud; "" is the public one.
func findPlace(ctx context.Context, o Options, web *http.Client) (Place, error) {
	p := Place{Compute: "2024-03-01", Network: "2024-03-01"}
	switch strings.ToLower(o.Cloud) {
	case names.USGov:
		p.Configuration = cloud.AzureGovernment
	case names.China:
		p.Configuration = cloud.AzureChina
	case names.Stack:
		return findStack(ctx, o, web)
	default:
		p.Configuration = cloud.AzurePublic
	}
	return p, nil
}

// findStack asks a private cloud where things are.
func findStack(ctx context.Context, o Options, web *http.Client) (Place, error) {
	endpoint := strings.TrimRight(o.MetadataEndpoint, "/")
	var told struct {
		Authentication struct {
			LoginEndpoint string   `json:"loginEndpoint"`
			Audiences     []string `json:"audiences"`
		} `json:"authentication"`
	}
	err := look(ctx, web, endpoint+"/metadata/endpoints?api-version=2015-01-01", nil, o.RequestTimeout, &told)
	if err != nil {
		return Place{}, wrong(Unreachable, err, "metadata_endpoint %s does not tell where its services are: %v", endpoint, Plain(err))
	}
	if len(told.Authentication.Audiences) == 0 || names.HTTPS(told.Authentication.LoginEndpoint) != nil {
		return Place{}, wrong(Unreachable, nil, "metadata_endpoint %s answers, but not as the Resource Manager of a private cloud does; check the URL", endpoint)
	}
	login := strings.TrimRight(told.Authentication.LoginEndpoint, "/")
	base, adfs := strings.CutSuffix(strings.ToLower(login), "/adfs")
	return Place{
		Configuration: cloud.Configuration{
			ActiveDirectoryAuthorityHost: login[:len(base)] + "/",
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Endpoint: endpoint, Audience: told.Authentication.Audiences[0]},
			},
		},
		// The versions of the profile 2020-09-01-hybrid.
		Compute: "2020-06-01", Network: "2018-11-01",
		private: true, adfs: adfs,
	}, nil
}

const (
	lookTries = 3
	lookPause = 200 * time.Millisecond
)

// look fetches a small JSON document that needs no token. Each of a few attempts
// may take as long as bound says.
func look(ctx context.Context, web *http.Client, address string, header http.Header, bound time.Duration, v any) error {
	for try := 1; ; try++ {
		err := lookOnce(ctx, web, address, header, bound, v)
		if err == nil || try == lookTries || Silent(err) && try == silentTries || life.Pause(ctx, lookPause) != nil {
			return err
		}
	}
}

func lookOnce(ctx context.Context, web *http.Client, address string, header http.Header, bound time.Duration, v any) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header = header
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return errors.New("its answer is not the JSON that was expected")
	}
	return nil
}

// host is the name in an endpoint, for sentences.
func host(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return endpoint
	}
	return u.Host
}
