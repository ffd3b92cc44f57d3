package configs

import (
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

// seconds reads a time that check has found to be one.
func seconds(text string) time.Duration {
	d, _ := time.ParseDuration(text)
	return d
}

func (l Launch) check(report func(key, format string, args ...any)) {
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
	for _, v := range l.Env {
		name, _, ok := strings.Cut(v, "=")
		if !ok || name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			report("launch.env", "launch.env has %s, want NAME=value", quote(v))
		}
	}
}
