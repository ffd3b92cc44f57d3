package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/longform-go/longform/internal/batching"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/serving"
)

// keyVariable may hold the API key. A flag would show it to everyone on the machine.
const keyVariable = "LONGFORM_API_KEY"

func serveCommand() *cobra.Command {
	var (
		flags           modelFlags
		addr, name, key string
		slots, queue    int
		noLookup        bool
		longest         int
		grace           time.Duration
		origins         []string
	)
	c := &cobra.Command{
		Use:   "serve --model DIR",
		Short: "Serve a model over HTTP with OpenAI's interface",
		Long: `Serve a model over HTTP with OpenAI's interface: /v1/completions, /v1/chat/completions with the model's chat template,
/v1/models. A page to try the model is at /, Prometheus metrics at /metrics, and /healthz or /health says when it is ready.

A model without a chat template gets the one message that it may be sent in LongForm's format.

Other machines reach it only if --addr says so, and then clients need a key: ` + keyVariable + ` or a file's. The page, /metrics and /healthz
ask for none, and tell nothing of texts.

SIGTERM and Ctrl-C let requests under way end, for as long as --grace says; the second one ends them at once.`,
		Example: `  infer serve --model runs/demo
  LONGFORM_API_KEY=$(cat key) infer serve --model runs/demo --addr 0.0.0.0:8080`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case slots < 1:
				return fmt.Errorf("--slots is %d; it must be at least 1", slots)
			case queue < 1:
				return fmt.Errorf("--queue is %d; it must be at least 1", queue)
			case longest < 0:
				return fmt.Errorf("--max-length is %d; it must not be negative", longest)
			case grace < 0:
				return fmt.Errorf("--grace is %v; it must not be negative", grace)
			}
			apiKey, err := readKey(key)
			if err != nil {
				return err
			}
			if err := checkOrigins(origins, apiKey); err != nil {
				return err
			}
			listener, err := listen(addr, apiKey)
			if err != nil {
				return err
			}
			defer listener.Close()
			m, err := flags.open()
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			served, err := m.serve(flags.path, name, longest, log)
			if err != nil {
				m.close()
				return err
			}
			generator := decoding.New(m.device, m.parameters)
			generator.NoLookup = noLookup
			engine := batching.New(generator, served.EOS, slots, queue)
			defer soon(func() {
				engine.Close()
				generator.Close()
				m.close()
			})
			ctx, end := context.WithCancel(cmd.Context())
			defer end()
			signals := make(chan os.Signal, 1)
			signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
			go func() {
				<-signals
				signal.Stop(signals) // so that the second one ends the process
				end()
			}()
			log.Info("serving", "model", served.Name, "url", "http://"+listener.Addr().String(), "longest", served.MaxLength)
			return serving.New(serving.Config{
				Engine: engine, Model: *served, APIKey: apiKey, Log: log, Grace: grace, Origins: origins,
			}).Serve(ctx, listener)
		},
	}
	flags.add(c)
	f := c.Flags()
	f.StringVar(&addr, "addr", "127.0.0.1:8080", "address to listen on")
	f.StringVar(&name, "name", "", "what the model is called; by default the last part of its path")
	f.StringVar(&key, "api-key-file", "", "file with the key that clients have to send; else "+keyVariable+"'s, if that is set")
	f.StringSliceVar(&origins, "allow-origin", nil, "web pages that may use the server besides its own, as http://localhost:3000; * is all, and needs a key")
	f.BoolVar(&noLookup, "no-lookup", false, noLookupUsage)
	f.IntVar(&slots, "slots", 64, "how many texts are written at once, if there is memory for them; others wait")
	f.IntVar(&queue, "queue", 256, "how many texts may wait; more are refused")
	f.IntVar(&longest, "max-length", 0, "most tokens of a prompt and its text together; 0: what the model can, up to 4096")
	f.DurationVar(&grace, "grace", 25*time.Second, "how long requests may go on when the server is told to end")
	return c
}

// soon ends what the server used. The compilation of a program may take minutes and can't be stopped, so it is left to the end of the
// process.
func soon(end func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		end()
	}()
	select {
	case <-ended:
	case <-time.After(3 * time.Second):
	}
}

// readKey takes the API key from a file or the environment; there may be none.
func readKey(path string) (string, error) {
	key, from := os.Getenv(keyVariable), keyVariable
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("--api-key-file: %w", err)
		}
		key, from = strings.TrimSpace(string(raw)), path
		if key == "" {
			return "", fmt.Errorf("--api-key-file %s is empty; write the key into it", path)
		}
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("the API key of %s has characters that no header can carry; use letters, digits and signs of ASCII", from)
	}
	return key, nil
}

// checkOrigins refuses what no browser sends, and to let all pages in without a key.
func checkOrigins(origins []string, key string) error {
	for _, origin := range origins {
		if origin == "*" && key == "" {
			return fmt.Errorf("--allow-origin * lets every page that is visited from this machine in; set %s or --api-key-file, or name the pages' origins", keyVariable)
		}
		err := new(http.CrossOriginProtection).AddTrustedOrigin(origin)
		if (err != nil || origin != strings.ToLower(origin) || strings.Contains(origin, "@")) && origin != "*" {
			return fmt.Errorf("--allow-origin %s is no origin; give scheme, name and port alone in small letters, as http://localhost:3000", origin)
		}
	}
	return nil
}

// listen refuses to let others in without a key.
func listen(addr, key string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--addr %s: %w", addr, err)
	}
	at, err := netip.ParseAddrPort(l.Addr().String())
	if key == "" && (err != nil || !at.Addr().IsLoopback()) {
		l.Close()
		return nil, fmt.Errorf("--addr %s lets other machines in; set %s or --api-key-file, or listen on 127.0.0.1", addr, keyVariable)
	}
	return l, nil
}

// usualLength is how long texts may be of models that can write longer ones, or any: memory is set aside for it.
const usualLength = 4096

// serve describes the model to the server.
func (m *model) serve(path, name string, longest int, log *slog.Logger) (*serving.Model, error) {
	can := m.source.Config.MaxLength()
	switch {
	case longest > can && can > 0:
		return nil, fmt.Errorf("--max-length is %d; model %s reads at most %d", longest, path, can)
	case longest == 0 && can > 0:
		longest = min(can, usualLength)
	case longest == 0:
		longest = usualLength
	}
	if longest < 2 {
		return nil, errors.New("--max-length is 1; a prompt and its text have at least 2")
	}
	if name == "" {
		name = path
		if _, err := os.Stat(path); err == nil {
			if path, err = filepath.Abs(path); err != nil {
				return nil, err
			}
			name = strings.TrimSuffix(filepath.Base(path), ".gguf")
		}
	}
	template, err := m.template()
	if err != nil {
		log.Warn("the model is served without chat: its template can't be used", "error", err)
		template = nil
	}
	return &serving.Model{
		Name: name, Tokenizer: m.tokenizer, EOS: m.source.EOS(), MaxLength: longest, Chat: template, EncoderDecoder: m.parameters.Config.EncoderDecoder(),
	}, nil
}
