package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/longform-go/longform/cmd/internal/clitest"
)

// served is infer serve in a process of its own.
type served struct {
	t       *testing.T
	command *exec.Cmd
	url     string
	log     chan string // its lines, until it ends
}

func serve(t *testing.T, model string, args ...string) *served {
	t.Helper()
	s := start(t, model, args...)
	s.url = s.waitFor(`msg=serving .*url=(\S+)`)
	return s
}

// start doesn't wait until it serves.
func start(t *testing.T, model string, args ...string) *served {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "infer") // by which this binary knows that it is infer
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, log: make(chan string, 1000)}
	s.command = exec.Command(name, append([]string{"serve", "--model", model, "--device", "go", "--addr", "127.0.0.1:0"}, args...)...)
	stderr, err := s.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.log)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.log <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		s.command.Process.Kill()
		s.command.Wait()
	})
	return s
}

// waitFor reads the log up to a line, and returns what it has in the place of the group.
func (s *served) waitFor(pattern string) string {
	s.t.Helper()
	for line := range s.log {
		if found := regexp.MustCompile(pattern).FindStringSubmatch(line); found != nil {
			return found[len(found)-1]
		}
	}
	s.t.Fatalf("the server ended without a line %s", pattern)
	return ""
}

// choice is one of a server's answer, of whichever interface.
type choice struct {
	Text     string
	Message  struct{ Content string }
	LogProbs struct {
		TokenLogProbs []*float64 `json:"token_logprobs"`
	}
}

// texts are those that the server writes.
func (s *served) texts(path string, request map[string]any) (texts []string) {
	s.t.Helper()
	for _, c := range s.choices(path, request) {
		texts = append(texts, c.Text+c.Message.Content)
	}
	return texts
}

func (s *served) choices(path string, request map[string]any) []choice {
	s.t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.Post(s.url+path, "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	var answer struct{ Choices []choice }
	if err := json.Unmarshal(raw, &answer); err != nil || response.StatusCode != 200 {
		s.t.Fatalf("%s: %s", response.Status, raw)
	}
	return answer.Choices
}

// The server writes what transformers does, and what infer generate does.
func TestServe(t *testing.T) {
	for _, family := range clitest.Families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			model := filepath.Join("..", "..", "models", "testdata", family)
			s := serve(t, model)
			raw, err := os.ReadFile(filepath.Join(model, "expected.json"))
			if err != nil {
				t.Fatal(err)
			}
			var expected struct {
				Generate []struct {
					Prompt, Mode, Text string
					IDs                []int `json:"new_ids"`
				}
				Score []struct {
					IDs     []int   `json:"input_ids"`
					MeanNLL float64 `json:"mean_nll"`
				}
			}
			if err := json.Unmarshal(raw, &expected); err != nil {
				t.Fatal(err)
			}
			compared := 0
			for _, e := range expected.Generate {
				if e.Mode != "greedy" {
					continue
				}
				request := map[string]any{"model": family, "prompt": e.Prompt, "temperature": 0, "max_tokens": len(e.IDs)}
				// transformers drops a space before the first word, with which the text goes on after the prompt.
				if got := s.texts("/v1/completions", request); got[0] != e.Text && got[0] != " "+e.Text {
					t.Errorf("after %q: %q, and transformers %q", e.Prompt, got, e.Text)
				}
				compared++
			}
			if compared == 0 {
				t.Error("nothing to compare with")
			}
			if family != "t5-tiny" { // whose prompts are read by an encoder
				for i, e := range expected.Score {
					c := s.choices("/v1/completions", map[string]any{"model": family, "prompt": e.IDs, "max_tokens": 0, "echo": true, "logprobs": 0})[0]
					sum := 0.0
					for _, p := range c.LogProbs.TokenLogProbs[1:] {
						sum -= *p
					}
					if n := len(e.IDs) - 1; len(c.LogProbs.TokenLogProbs) != 1+n || math.Abs(sum/float64(n)-e.MeanNLL) > 2e-5 {
						t.Errorf("record %d: %v in all for %d tokens, and transformers %v on average for %d", i, sum, len(c.LogProbs.TokenLogProbs), e.MeanNLL, n)
					}
				}
			}
			prompts := filepath.Join(t.TempDir(), "prompts.jsonl")
			line, ask := `{"input": "Name a river."}`+"\n", []map[string]string{{"role": "user", "content": "Name a river."}}
			if err := os.WriteFile(prompts, []byte(strings.Repeat(line, 3)), 0o644); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			c := rootCommand()
			c.SetOut(&out)
			c.SetArgs([]string{"generate", "--model", model, "--device", "go", "--prompts", prompts, "--seed", "7", "--max-new-tokens", "12", "--json"})
			if err := c.Execute(); err != nil {
				t.Fatal(err)
			}
			got := s.texts("/v1/chat/completions", map[string]any{"model": family, "messages": ask, "n": 3, "seed": 7, "top_p": 0.9, "max_tokens": 12})
			for i, lines := 0, json.NewDecoder(&out); lines.More(); i++ {
				var want generated
				if err := lines.Decode(&want); err != nil || got[i] != want.Text {
					t.Errorf("text %d is %q, and infer generate's %q, error %v", i, got[i], want.Text, err)
				}
			}
		})
	}
}

// A model whose chat template can't be used completes prompts all the same.
func TestServeWithoutChat(t *testing.T) {
	model := filepath.Join(t.TempDir(), "broken")
	if err := os.CopyFS(model, os.DirFS("../../models/testdata/opt-tiny")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(model, "chat_template.jinja"), []byte("{% if messages"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, model)
	s.waitFor(`level=WARN .*(a tag is not closed)`)
	s.url = s.waitFor(`msg=serving .*url=(\S+)`)
	s.texts("/v1/completions", map[string]any{"model": "broken", "prompt": "A", "max_tokens": 1})
	response, err := http.Post(s.url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model": "broken", "messages": [{"role": "user", "content": "A"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if raw, err := io.ReadAll(response.Body); err != nil || response.StatusCode != 400 || !strings.Contains(string(raw), "use /v1/completions") {
		t.Errorf("%s: %s, error %v", response.Status, raw, err)
	}
}

// The first signal lets a text end, and the second one doesn't.
func TestServeEnds(t *testing.T) {
	for _, signals := range []int{1, 2} {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			s := serve(t, "../../models/testdata/t5-tiny", "--max-length", "1000000")
			tokens := map[int]int{1: 200, 2: 900000}[signals]
			body := fmt.Sprintf(`{"model": "t5-tiny", "prompt": "A", "max_tokens": %d, "ignore_eos": true, "stream": true}`, tokens)
			response, err := http.Post(s.url+"/v1/completions", "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			s.command.Process.Signal(syscall.SIGTERM)
			s.waitFor("msg=(ending)")
			if signals == 2 {
				s.command.Process.Signal(syscall.SIGTERM)
				for range s.log {
				}
				if err := s.command.Wait(); err == nil {
					t.Error("status 0 after the second signal")
				}
				return
			}
			stream, err := io.ReadAll(response.Body)
			if err != nil || !strings.HasSuffix(string(stream), "data: [DONE]\n\n") {
				t.Errorf("the text ends with %.200q, error %v", stream[max(0, len(stream)-200):], err)
			}
			for range s.log {
			}
			if err := s.command.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}
