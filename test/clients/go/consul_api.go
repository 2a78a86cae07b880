package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
	"github.com/hashicorp/consul/api/watch"
	"github.com/hashicorp/go-hclog"
)

// soon is how long a change may take to arrive; in vain only on a machine that stands still.
const soon = 30 * time.Second

// walk uses HashiCorp's client as a program does that was written for Consul. It prints the name of each step that held.
func walk(address string) {
	client, err := api.NewClient(&api.Config{Address: address})
	check(err)
	for _, step := range []struct {
		name string
		run  func(*api.Client)
	}{
		{"agent", agent},
		{"health", health},
		{"watch-plans", func(client *api.Client) { watchPlans(client) }},
		{"catalog", catalog},
		{"intentions", intentions},
		{"config-entries", configEntries},
		{"kv", kv},
		{"transactions", transactions},
		{"connect", connect},
		{"errors", refusals},
	} {
		step.run(client)
		fmt.Println("held", step.name)
	}
}

func register(client *api.Client, id string, port int) {
	check(client.Agent().ServiceRegister(&api.AgentServiceRegistration{
		ID: id, Name: "api", Address: "127.0.0.1", Port: port, Tags: []string{"v1"}, Meta: map[string]string{"team": "shop"},
		Check: &api.AgentServiceCheck{CheckID: id, TTL: "10m"},
	}))
}

func agent(client *api.Client) {
	name, err := client.Agent().NodeName()
	check(err)
	equal("the node", name, "laptop")
	register(client, "api-1", 8080)
	service, meta, err := client.Agent().Service("api-1", nil)
	check(err)
	equal("the service", []any{service.Service, service.Port, service.Tags, service.Meta["team"]}, []any{"api", 8080, []string{"v1"}, "shop"})
	if meta.LastContentHash == "" || meta.LastContentHash != service.ContentHash {
		fail("the service's hash is %q, its header says %q", service.ContentHash, meta.LastContentHash)
	}
	status, checks, err := client.Agent().AgentHealthServiceByID("api-1")
	check(err)
	equal("the status before a heartbeat", []any{status, checks.Service.ID}, []any{"critical", "api-1"})
	check(client.Agent().UpdateTTL("api-1", "fine", api.HealthPassing))
	status, _, err = client.Agent().AgentHealthServiceByName("api")
	check(err)
	equal("the status after one", status, "passing")
	filtered, err := client.Agent().ServicesWithFilter(`Service == "api" and "v1" in Tags`)
	check(err)
	equal("services by filter", len(filtered), 1)
	members, err := client.Agent().Members(false)
	check(err)
	equal("members", len(members), 1)
}

// health follows a service by blocking queries.
func health(client *api.Client) {
	entries, meta := until(client, "api-1 alone", func(ids []string) bool { return slices.Equal(ids, []string{"api-1"}) }, 0)
	equal("aggregated status", entries[0].Checks.AggregatedStatus(), api.HealthPassing)
	equal("output", entries[0].Checks[0].Output, "fine")

	same, quiet, err := client.Health().Service("api", "", true, &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: 100 * time.Millisecond})
	check(err)
	equal("an answer without news", []any{len(same), quiet.LastIndex}, []any{1, meta.LastIndex})

	go func() {
		register(client, "api-2", 8081)
		check(client.Agent().PassTTL("api-2", ""))
	}()
	_, meta = until(client, "both", func(ids []string) bool { return slices.Equal(ids, []string{"api-1", "api-2"}) }, meta.LastIndex)
	check(client.Agent().EnableServiceMaintenance("api-1", "disk"))
	_, meta = until(client, "api-2 alone", func(ids []string) bool { return slices.Equal(ids, []string{"api-2"}) }, meta.LastIndex)
	check(client.Agent().DisableServiceMaintenance("api-1"))
	until(client, "both again", func(ids []string) bool { return len(ids) == 2 }, meta.LastIndex)
	states, _, err := client.Health().State(api.HealthAny, &api.QueryOptions{Filter: `ServiceName == "api"`})
	check(err)
	equal("checks by filter", len(states), 2)
}

// until blocks on the passing instances of `api` until their ids are as wanted. The index never goes back.
func until(client *api.Client, what string, wanted func([]string) bool, index uint64) ([]*api.ServiceEntry, *api.QueryMeta) {
	for deadline := time.Now().Add(soon); time.Now().Before(deadline); {
		entries, meta, err := client.Health().Service("api", "v1", true, &api.QueryOptions{WaitIndex: index, WaitTime: soon})
		check(err)
		if meta.LastIndex < index || meta.LastIndex == 0 || !meta.KnownLeader {
			fail("after index %d: %+v", index, meta)
		}
		index = meta.LastIndex
		var ids []string
		for _, entry := range entries {
			ids = append(ids, entry.Service.ID)
		}
		sort.Strings(ids)
		if wanted(ids) {
			return entries, meta
		}
	}
	fail("waited in vain for %s", what)
	return nil, nil
}

// watchPlans runs the plans behind `consul watch`.
func watchPlans(client *api.Client) {
	for _, plan := range []map[string]any{
		{"type": "service", "service": "api", "passingonly": true},
		{"type": "services"},
		{"type": "nodes"},
		{"type": "checks", "state": "any"},
		{"type": "key", "key": "watched"},
		{"type": "keyprefix", "prefix": "watch"},
		{"type": "connect_roots"},
		{"type": "connect_leaf", "service": "api"},
		{"type": "agent_service", "service_id": "api-1"},
	} {
		kind := plan["type"] // what is parsed is taken out
		parsed, err := watch.Parse(plan)
		check(err)
		heard := make(chan any, 16)
		parsed.HybridHandler = func(_ watch.BlockingParamVal, result any) { heard <- result }
		ended := make(chan error, 1)
		if kind == "key" {
			_, err := client.KV().Put(&api.KVPair{Key: "watched", Value: []byte("1")}, nil)
			check(err)
		}
		go func() { ended <- parsed.RunWithClientAndHclog(client, hclog.NewNullLogger()) }()
		select {
		case result := <-heard:
			if result == nil {
				fail("the watch of %v heard nothing", kind)
			}
		case err := <-ended:
			fail("the watch of %v ended: %v", kind, err)
		case <-time.After(soon):
			fail("the watch of %v waits in vain", kind)
		}
		parsed.Stop()
	}
}

func catalog(client *api.Client) {
	_, err := client.Catalog().Register(&api.CatalogRegistration{
		Node: "db-host", Address: "10.0.0.9", NodeMeta: map[string]string{"rack": "7"},
		Service: &api.AgentService{ID: "db-1", Service: "db", Port: 5432, Tags: []string{"primary"}},
		Checks:  api.HealthChecks{{CheckID: "db-up", Name: "db up", ServiceID: "db-1", Status: api.HealthPassing}},
	}, nil)
	check(err)
	services, _, err := client.Catalog().Services(nil)
	check(err)
	equal("services", services["db"], []string{"primary"})
	instances, _, err := client.Catalog().Service("db", "primary", &api.QueryOptions{NodeMeta: map[string]string{"rack": "7"}})
	check(err)
	equal("instances", []any{len(instances), instances[0].Address, instances[0].ServicePort}, []any{1, "10.0.0.9", 5432})
	equal("health of the instance", instances[0].Checks.AggregatedStatus(), "passing")
	node, _, err := client.Catalog().Node("db-host", nil)
	check(err)
	equal("services of the node", len(node.Services), 1)
	list, _, err := client.Catalog().NodeServiceList("db-host", nil)
	check(err)
	equal("list of services", list.Services[0].ID, "db-1")
	nodes, _, err := client.Catalog().Nodes(&api.QueryOptions{Filter: `Meta.rack == "7"`, RequireConsistent: true})
	check(err)
	equal("nodes", len(nodes), 1)
	datacenters, err := client.Catalog().Datacenters()
	check(err)
	equal("datacenters", datacenters, []string{"dc1"})
	_, err = client.Catalog().Deregister(&api.CatalogDeregistration{Node: "db-host"}, nil)
	check(err)
	missing, _, err := client.Catalog().Node("db-host", nil)
	check(err)
	equal("a node that is gone", missing == nil, true)
	leader, err := client.Status().Leader()
	check(err)
	if !strings.Contains(leader, ":") {
		fail("the leader is %q", leader)
	}
}

func intentions(client *api.Client) {
	connect := client.Connect()
	_, err := connect.IntentionUpsert(&api.Intention{SourceName: "web", DestinationName: "api", Action: api.IntentionActionAllow}, nil)
	check(err)
	one, _, err := connect.IntentionGetExact("web", "api", nil)
	check(err)
	equal("the intention", []any{one.Action, one.Precedence, one.SourceType}, []any{"allow", 9, "consul"})
	for source, should := range map[string]bool{"web": true, "stranger": false} {
		allowed, _, err := connect.IntentionCheck(&api.IntentionCheck{Source: source, Destination: "api", SourceType: api.IntentionSourceConsul}, nil)
		check(err)
		equal(source+" allowed", allowed, should)
	}
	matched, _, err := connect.IntentionMatch(&api.IntentionMatch{By: api.IntentionMatchDestination, Names: []string{"api"}}, nil)
	check(err)
	equal("matches", len(matched["api"]), 1)
	all, _, err := connect.Intentions(nil)
	check(err)
	equal("intentions", len(all), 1)
	entry, _, err := client.ConfigEntries().Get(api.ServiceIntentions, "api", nil)
	check(err)
	equal("the same as a config entry", entry.(*api.ServiceIntentionsConfigEntry).Sources[0].Name, "web")
	authorized, err := client.Agent().ConnectAuthorize(&api.AgentAuthorizeParams{Target: "api", ClientCertURI: "spiffe://mesh.internal/ns/default/dc/dc1/svc/web"})
	check(err)
	equal("authorized", authorized.Authorized, true)
	_, err = connect.IntentionDeleteExact("web", "api", nil)
	check(err)
	gone, _, err := connect.IntentionGetExact("web", "api", nil)
	check(err)
	equal("a deleted intention", gone == nil, true)
}

func configEntries(client *api.Client) {
	entries := client.ConfigEntries()
	_, _, err := entries.Set(&api.ServiceConfigEntry{Kind: api.ServiceDefaults, Name: "api", Protocol: "http", Meta: map[string]string{"by": "go"}}, nil)
	check(err)
	found, _, err := entries.Get(api.ServiceDefaults, "api", nil)
	check(err)
	defaults := found.(*api.ServiceConfigEntry)
	equal("service-defaults", []any{defaults.Protocol, defaults.Meta["by"]}, []any{"http", "go"})
	done, _, err := entries.CAS(defaults, defaults.ModifyIndex-1, nil)
	check(err)
	equal("a write with an old index", done, false)
	done, _, err = entries.CAS(defaults, defaults.ModifyIndex, nil)
	check(err)
	equal("a write with the right index", done, true)
	_, _, err = entries.Set(&api.ServiceIntentionsConfigEntry{Kind: api.ServiceIntentions, Name: "api", Sources: []*api.SourceIntention{{
		Name: "web", Permissions: []*api.IntentionPermission{
			{Action: api.IntentionActionAllow, HTTP: &api.IntentionHTTPPermission{PathPrefix: "/orders", Methods: []string{"GET"}}},
			{Action: api.IntentionActionDeny, HTTP: &api.IntentionHTTPPermission{Header: []api.IntentionHTTPHeaderPermission{{Name: "x-debug", Present: true}}}},
		},
	}}}, nil)
	check(err)
	found, _, err = entries.Get(api.ServiceIntentions, "api", nil)
	check(err)
	source := found.(*api.ServiceIntentionsConfigEntry).Sources[0]
	equal("permissions", []any{len(source.Permissions), source.Permissions[0].HTTP.Methods, source.Precedence}, []any{2, []string{"GET"}, 9})
	list, _, err := entries.List(api.ServiceDefaults, nil)
	check(err)
	equal("entries", len(list), 1)
	for _, kind := range []string{api.ServiceIntentions, api.ServiceDefaults} {
		_, err = entries.Delete(kind, "api", nil)
		check(err)
	}
	_, _, err = entries.Get(api.ServiceDefaults, "api", nil)
	if err == nil || !strings.Contains(err.Error(), "404") || !strings.Contains(err.Error(), "Config entry not found") {
		fail("a deleted entry: %v", err)
	}
}

func kv(client *api.Client) {
	store := client.KV()
	_, err := store.Put(&api.KVPair{Key: "app/a b", Value: []byte{0, 255}, Flags: 1<<64 - 1}, nil)
	check(err)
	pair, meta, err := store.Get("app/a b", nil)
	check(err)
	equal("the pair", []any{pair.Value, pair.Flags}, []any{[]byte{0, 255}, uint64(1<<64 - 1)})
	done, _, err := store.CAS(&api.KVPair{Key: "app/a b", Value: []byte("x"), ModifyIndex: pair.ModifyIndex + 1}, nil)
	check(err)
	equal("a write with a wrong index", done, false)
	go func() {
		_, _, err := store.CAS(&api.KVPair{Key: "app/a b", Value: []byte("y"), ModifyIndex: pair.ModifyIndex}, nil)
		check(err)
	}()
	pair, _, err = store.Get("app/a b", &api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: soon})
	check(err)
	equal("the value after a blocking read", string(pair.Value), "y")
	keys, _, err := store.Keys("app/", "/", nil)
	check(err)
	equal("keys", keys, []string{"app/a b"})
	pairs, _, err := store.List("app/", nil)
	check(err)
	equal("pairs", len(pairs), 1)
	_, err = store.DeleteTree("app/", nil)
	check(err)
	pair, _, err = store.Get("app/a b", nil)
	check(err)
	equal("a deleted pair", pair == nil, true)
}

func transactions(client *api.Client) {
	ok, answer, _, err := client.Txn().Txn(api.TxnOps{
		{KV: &api.KVTxnOp{Verb: api.KVCheckNotExists, Key: "txn/a"}},
		{KV: &api.KVTxnOp{Verb: api.KVSet, Key: "txn/a", Value: []byte("1"), Flags: 3}},
		{KV: &api.KVTxnOp{Verb: api.KVGet, Key: "txn/a"}},
	}, nil)
	check(err)
	equal("a transaction", []any{ok, len(answer.Results), string(answer.Results[1].KV.Value)}, []any{true, 2, "1"})
	ok, answer, _, err = client.Txn().Txn(api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCheckIndex, Key: "txn/a", Index: 1}}}, nil)
	check(err)
	equal("a transaction that fails", []any{ok, len(answer.Errors), answer.Errors[0].OpIndex}, []any{false, 1, 0})
	ok, older, _, err := client.KV().Txn(api.KVTxnOps{{Verb: api.KVDelete, Key: "txn/a"}}, nil)
	check(err)
	equal("a transaction of the older kind", []any{ok, len(older.Errors)}, []any{true, 0})
}

// connect builds a TLS certificate and a pool of what a service has from its agent, and verifies the one by the other.
func connect(client *api.Client) {
	roots, meta, err := client.Agent().ConnectCARoots(nil)
	check(err)
	equal("the trust domain", roots.TrustDomain, "mesh.internal")
	pool := x509.NewCertPool()
	for _, root := range roots.Roots {
		if !pool.AppendCertsFromPEM([]byte(root.RootCertPEM)) {
			fail("a root can't be read")
		}
	}
	leaf, _, err := client.Agent().ConnectCALeaf("api", &api.QueryOptions{WaitTime: soon})
	check(err)
	equal("the leaf", leaf.ServiceURI, "spiffe://mesh.internal/ns/default/dc/dc1/svc/api")
	pair, err := tls.X509KeyPair([]byte(leaf.CertPEM), []byte(leaf.PrivateKeyPEM))
	check(err)
	intermediates := x509.NewCertPool()
	rest := []byte(leaf.CertPEM)
	for block, next := pem.Decode(rest); block != nil; block, next = pem.Decode(next) {
		intermediates.AppendCertsFromPEM(pem.EncodeToMemory(block))
	}
	certificate, err := x509.ParseCertificate(pair.Certificate[0])
	check(err)
	_, err = certificate.Verify(x509.VerifyOptions{Roots: pool, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	check(err)
	equal("its validity", leaf.ValidBefore.Equal(certificate.NotAfter), true)
	again, _, err := client.Connect().CARoots(&api.QueryOptions{WaitIndex: meta.LastIndex, WaitTime: 100 * time.Millisecond})
	check(err)
	equal("the catalog's roots", again.ActiveRootID, roots.ActiveRootID)
}

// refusals are told apart by their status.
func refusals(client *api.Client) {
	_, _, err := client.Session().Create(&api.SessionEntry{Name: "lock"}, nil)
	expectStatus("a session", err, 501)
	_, _, err = client.Catalog().Services(&api.QueryOptions{Datacenter: "dc2"})
	expectStatus("another datacenter", err, 500)
	_, _, err = client.Catalog().Services(&api.QueryOptions{Filter: "a ==="})
	expectStatus("a bad filter", err, 400)
	_, _, err = client.Agent().Service("no-such", nil)
	expectStatus("an unknown service", err, 404)
}

func expectStatus(what string, err error, code int) {
	status, ok := err.(api.StatusError)
	if !ok || status.Code != code || status.Body == "" {
		fail("%s: %v, and not %d", what, err, code)
	}
}
