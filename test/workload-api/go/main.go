// A workload in Go that knows of Selvedge only the address of a SPIFFE Workload API: go-spiffe does the rest. It prints what it sees, a line each, and calls
// a service by mTLS once for each line on its standard input, which is `URL SPIFFE-ID`.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type watcher struct{}

func (watcher) OnX509ContextUpdate(update *workloadapi.X509Context) {
	svid := update.DefaultSVID()
	fmt.Printf("svid %s %x %d\n", svid.ID, svid.Certificates[0].SerialNumber, update.Bundles.Len())
}

func (watcher) OnX509ContextWatchError(err error) {
	fmt.Printf("watch-error %v\n", err)
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client, err := workloadapi.New(ctx)
	check(err)
	defer client.Close()
	go func() {
		if err := client.WatchX509Context(ctx, watcher{}); err != nil && ctx.Err() == nil {
			check(err)
		}
	}()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClient(client))
	check(err)
	defer source.Close()

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "call":
			call(source, words[1], spiffeid.RequireFromString(words[2]))
		case "jwt":
			token(ctx, client, words[1])
		}
	}
}

// call makes one request on a connection of its own.
func call(source *workloadapi.X509Source, url string, server spiffeid.ID) {
	tls := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(server))
	transport := &http.Transport{TLSClientConfig: tls, DisableKeepAlives: true}
	response, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Get(url)
	if err != nil {
		fmt.Printf("call-error %v\n", err)
		return
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(err)
	fmt.Printf("answer %d %s\n", response.StatusCode, strings.TrimSpace(string(body)))
}

// token obtains a JWT-SVID, has it validated by the server, and validates it once more itself by the JWT bundles.
func token(ctx context.Context, client *workloadapi.Client, audience string) {
	svid, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	check(err)
	_, err = client.ValidateJWTSVID(ctx, svid.Marshal(), audience)
	check(err)
	bundles, err := client.FetchJWTBundles(ctx)
	check(err)
	validated, err := jwtsvid.ParseAndValidate(svid.Marshal(), bundles, []string{audience})
	check(err)
	fmt.Printf("jwt %s %s\n", validated.ID, validated.Audience[0])
}

func check(err error) {
	if err != nil {
		fmt.Printf("error %v\n", err)
		os.Exit(1)
	}
}
