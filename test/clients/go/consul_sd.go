package main

import (
	"context"
	"encoding/json"
	"os"
	"time"

	"github.com/go-kit/log"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/consul"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

// fileGroup is an entry of a file that Prometheus' file_sd reads.
type fileGroup struct {
	Targets []string       `json:"targets"`
	Labels  model.LabelSet `json:"labels"`
}

// discover runs Prometheus' own consul_sd, which Debian builds Prometheus without, and hands what it finds to a Prometheus by a file.
func discover(server, file string) error {
	config := consul.DefaultSDConfig
	config.Server = server
	config.ServiceTags = []string{"metrics"}
	config.RefreshInterval = model.Duration(time.Second)
	registry := prometheus.NewRegistry()
	metrics := config.NewDiscovererMetrics(registry, discovery.NewRefreshMetrics(registry))
	if err := metrics.Register(); err != nil {
		return err
	}
	logger := log.NewLogfmtLogger(os.Stderr)
	discoverer, err := config.NewDiscoverer(discovery.DiscovererOptions{Logger: logger, Metrics: metrics})
	if err != nil {
		return err
	}
	updates := make(chan []*targetgroup.Group)
	go discoverer.Run(context.Background(), updates)
	groups := map[string][]fileGroup{}
	for update := range updates {
		for _, group := range update {
			groups[group.Source] = flat(group)
		}
		if err := write(file, groups); err != nil {
			return err
		}
	}
	return nil
}

// flat gives each target a group of its own: a file has labels for groups only.
func flat(group *targetgroup.Group) []fileGroup {
	var found []fileGroup
	for _, target := range group.Targets {
		labels := group.Labels.Merge(target)
		address := string(labels[model.AddressLabel])
		delete(labels, model.AddressLabel)
		found = append(found, fileGroup{Targets: []string{address}, Labels: labels})
	}
	return found
}

func write(file string, groups map[string][]fileGroup) error {
	all := []fileGroup{}
	for _, some := range groups {
		all = append(all, some...)
	}
	content, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
