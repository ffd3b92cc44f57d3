package configs

import (
	"net/url"
	"path"
	"strings"
	"time"
)

// Limit is Time, 0 if there is none.
func (l Launch) Limit() time.Duration { return seconds(l.Time) }

// Warning is Notice.
func (l Launch) Warning() time.Duration { return seconds(l.Notice) }

// Variables are Env by name.
func (l Launch) Variables() map[string]string {
	variables := map[string]string{}
	for _, v := range l.Env {
		name, value, _ := strings.Cut(v, "=")
		variables[name] = value
	}
	return variables
}

// webAddress says whether text is that of a server.
func webAddress(text string) bool {
	at, err := url.Parse(text)
	return err == nil && at.Host != "" && (at.Scheme == "http" || at.Scheme == "https")
}

// seconds reads a time that check has found to be one.
func seconds(text string) time.Duration {
	d, _ := time.ParseDuration(text)
	return d
}

func (l Launch) check(report func(key, format string, args ...any)) {
	for _, n := range []struct {
		key   string
		value int
	}{{"launch.gpus", l.GPUs}, {"launch.cpus", l.CPUs}} {
		if n.value < 0 {
			report(n.key, "%s is %d, want at least 0", n.key, n.value)
		}
	}
	if l.GPUs > 1 {
		report("launch.gpus", "launch.gpus is %d, but a run uses one GPU; for several runs at once see parallel of train sweep", l.GPUs)
	}
	for _, t := range []struct{ key, text string }{{"launch.time", l.Time}, {"launch.notice", l.Notice}} {
		if d, err := time.ParseDuration(t.text); t.text != "" && (err != nil || d < time.Second) {
			report(t.key, "%s is %s, want a time of at least a second, such as 24h or 1h30m", t.key, quote(t.text))
		}
	}
	if l.Limit() > 0 && l.Limit() <= l.Warning() {
		report("launch.notice", "launch.notice is %s, want less than launch.time, %s", l.Notice, l.Time)
	}
	if l.On == "ssh" && len(l.Hosts) == 0 {
		report("launch.hosts", "launch.hosts is missing; add hosts: NAME under launch:, or give launch.hosts=NAME on the command line")
	}
	if l.On == "ray" && !webAddress(l.Address) {
		report("launch.address", "launch.address is %s, want the address of Ray's dashboard, such as http://localhost:8265", quote(l.Address))
	}
	if l.On == "kubernetes" {
		if l.Image == "" {
			report("launch.image", "launch.image is missing; add image: NAME under launch:, a container image with train on its PATH")
		}
		if claim, at, _ := strings.Cut(l.Volume, ":"); claim == "" || !path.IsAbs(at) {
			report("launch.volume", "launch.volume is %s, want CLAIM:/PATH, a PersistentVolumeClaim and where the container has it", quote(l.Volume))
		}
	}
	for _, v := range l.Env {
		name, _, ok := strings.Cut(v, "=")
		if !ok || name == "" || name[0] >= '0' && name[0] <= '9' || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			report("launch.env", "launch.env has %s, want NAME=value", quote(v))
		}
	}
}
