package serving

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/chat"
	"github.com/longform-go/longform/internal/decoding"
)

// post sends a request and returns the response, whose body the caller closes.
func (s *running) post(path, body string, headers ...string) *http.Response {
	s.t.Helper()
	return s.send("POST", path, body, headers...)
}

func (s *running) send(method, path, body string, headers ...string) *http.Response {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return response
}

// answer posts and reads the whole answer, without what differs each time.
func (s *running) answer(path, body string) map[string]any {
	s.t.Helper()
	response := s.post(path, body)
	defer response.Body.Close()
	return s.object(response.Body)
}

func (s *running) object(r io.Reader) map[string]any {
	s.t.Helper()
	raw, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return object(s.t, string(raw))
}

func object(t *testing.T, raw string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(raw), &o); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	delete(o, "id")
	delete(o, "created")
	return o
}

// events reads a stream to its end.
func (s *running) events(path, body string) (events []map[string]any, done bool) {
	s.t.Helper()
	response := s.post(path, body)
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" || response.StatusCode != 200 {
		raw, _ := io.ReadAll(response.Body)
		s.t.Fatalf("status %d, content type %q: %s", response.StatusCode, kind, raw)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || !lines.Scan() || lines.Text() != "" {
			s.t.Fatalf("not an event and an empty line: %q", lines.Text())
		}
		if done {
			s.t.Fatalf("%s after [DONE]", data)
		}
		if done = data == "[DONE]"; !done {
			events = append(events, object(s.t, data))
		}
	}
	return events, done
}

func equal(t *testing.T, got map[string]any, want string) {
	t.Helper()
	if w := object(t, want); !reflect.DeepEqual(got, w) {
		raw, _ := json.Marshal(got)
		t.Errorf("got  %s\nwant %s", raw, want)
	}
}

func TestCompletion(t *testing.T) {
	f := newFake(t, 4, 8)
	s := start(t, config(t, f))
	equal(t, s.answer("/v1/completions", `{"model": "tiny", "prompt": "Name a river.", "max_tokens": 100}`),
		`{"object": "text_completion", "model": "tiny", "choices": [
			{"text": " `+river+`", "index": 0, "logprobs": null, "finish_reason": "stop"}],
		  "usage": {"prompt_tokens": 9, "completion_tokens": 24, "total_tokens": 33, "prompt_tokens_details": {"cached_tokens": 2}}}`)
	// -1 is no limit.
	equal(t, s.answer("/v1/completions", `{"model": "tiny", "prompt": "A", "max_tokens": -1}`),
		`{"object": "text_completion", "model": "tiny", "choices": [
			{"text": " `+river+`", "index": 0, "logprobs": null, "finish_reason": "stop"}],
		  "usage": {"prompt_tokens": 3, "completion_tokens": 24, "total_tokens": 27, "prompt_tokens_details": {"cached_tokens": 2}}}`)
	// A list of prompts, n texts each, in order; the stop string isn't there, what it takes isn't counted on.
	equal(t, s.answer("/v1/completions", `{"model": "tiny", "prompt": ["A", "B"], "n": 2, "stop": [" flows", "never"], "max_tokens": 100, "echo": true}`),
		`{"object": "text_completion", "model": "tiny", "choices": [
			{"text": "A The Danube", "index": 0, "logprobs": null, "finish_reason": "stop"},
			{"text": "A The Danube", "index": 1, "logprobs": null, "finish_reason": "stop"},
			{"text": "B The Danube", "index": 2, "logprobs": null, "finish_reason": "stop"},
			{"text": "B The Danube", "index": 3, "logprobs": null, "finish_reason": "stop"}],
		  "usage": {"prompt_tokens": 6, "completion_tokens": 44, "total_tokens": 50, "prompt_tokens_details": {"cached_tokens": 4}}}`)
}

// With echo, prompts' tokens come with their probabilities, as evaluation harnesses read them: as many elements as there are tokens,
// the first and the end token included.
func TestEcho(t *testing.T) {
	f := newFake(t, 4, 8)
	c := config(t, f)
	s := start(t, c)
	for _, test := range []struct {
		tokens int
		want   string
	}{
		{0, `{"text": "A", "index": 0, "finish_reason": "length", "logprobs": {
			"tokens": ["<s>", "", "A"], "token_logprobs": [null, 0, -1], "top_logprobs": [null, {"": 0}, {"A": -1}], "text_offset": [0, 0, 0]}}`},
		{2, `{"text": "A The ", "index": 0, "finish_reason": "length", "logprobs": {
			"tokens": ["<s>", "", "A", " ", "The "], "token_logprobs": [null, 0, -1, -0.5, -0.5],
			"top_logprobs": [null, {"": 0}, {"A": -1}, {" ": -0.5}, {" ": -0.5}], "text_offset": [0, 0, 0, 1, 2]}}`},
	} {
		body := fmt.Sprintf(`{"model": "tiny", "prompt": "A", "echo": true, "logprobs": 1, "max_tokens": %d}`, test.tokens)
		equal(t, s.answer("/v1/completions", body)["choices"].([]any)[0].(map[string]any), test.want)
	}
	if o := f.requests[0].Options; !o.PromptLogProbs || o.MaxNewTokens != 1 {
		t.Errorf("the engine was asked for %+v", o)
	}
	// Bytes are where their characters are: two newlines, 日 and 本, and a space.
	ids := []int32{1, 3 + '\n', 3 + '\n', 3 + 0xe6, 3 + 0x97, 3 + 0xa5, 3 + 0xe6, 3 + 0x9c, 3 + 0xac, 606}
	raw, _ := json.Marshal(map[string]any{"model": "tiny", "prompt": ids, "echo": true, "logprobs": 0, "max_tokens": 0})
	c0 := s.answer("/v1/completions", string(raw))["choices"].([]any)[0].(map[string]any)
	if got := fmt.Sprint(c0["logprobs"].(map[string]any)["text_offset"]); c0["text"] != "\n\n日本 " || got != "[0 0 1 2 2 2 3 3 3 4]" {
		t.Errorf("offsets %s in %q", got, c0["text"])
	}
	// What is written is behind the prompt as it was sent.
	c1 := s.answer("/v1/completions", `{"model": "tiny", "prompt": "A</s>B", "echo": true, "logprobs": 0, "max_tokens": 2}`)["choices"].([]any)[0].(map[string]any)
	if got := fmt.Sprint(c1["logprobs"].(map[string]any)["text_offset"]); c1["text"] != "A</s>B The " || !strings.HasSuffix(got, " 6 7]") {
		t.Errorf("offsets %s in %q", got, c1["text"])
	}
	// So it is behind more bytes than are looked at together.
	for range 20 {
		ids = append(ids[:1:1], append([]int32{3 + 0xe6, 3 + 0x97, 3 + 0xa5}, ids[1:]...)...)
	}
	raw, _ = json.Marshal(map[string]any{"model": "tiny", "prompt": ids[:len(ids)-1], "echo": true, "logprobs": 0, "max_tokens": 2})
	c2 := s.answer("/v1/completions", string(raw))["choices"].([]any)[0].(map[string]any)
	if got := fmt.Sprint(c2["logprobs"].(map[string]any)["text_offset"]); !strings.HasSuffix(got, " 24 25]") {
		t.Errorf("offsets %s in %q", got, c2["text"])
	}
	// In a stream, they come with the first chunk.
	events, _ := s.events("/v1/completions", `{"model": "tiny", "prompt": "A", "echo": true, "logprobs": 0, "max_tokens": 2, "stream": true}`)
	first := events[0]["choices"].([]any)[0].(map[string]any)
	if tokens := first["logprobs"].(map[string]any)["tokens"]; first["text"] != "A " || !reflect.DeepEqual(tokens, []any{"<s>", "", "A", " "}) {
		t.Errorf("the first chunk is %v", first)
	}
	f.refuses = decoding.ErrPromptLogProbs
	refused(t, s.post("/v1/completions", `{"model": "tiny", "prompt": "A", "echo": true, "logprobs": 1}`), 400, "echo", "", "echo with logprobs isn't supported")

	// What an encoder reads, a decoder doesn't go on with.
	c.Model.EncoderDecoder, f.refuses = true, nil
	a := start(t, c).answer("/v1/completions", `{"model": "tiny", "prompt": "A", "logprobs": 0, "max_tokens": 2}`)["choices"].([]any)[0].(map[string]any)
	if tokens := a["logprobs"].(map[string]any)["tokens"]; a["text"] != "The " || !reflect.DeepEqual(tokens, []any{"", "The "}) {
		t.Errorf("an encoder-decoder's text is %v", a)
	}
}

// What the engine is asked for: each text with a number of its own, and settings as they were given.
func TestRequests(t *testing.T) {
	f := newFake(t, 4, 8)
	s := start(t, config(t, f))
	s.answer("/v1/completions", `{"model": "tiny", "prompt": [[5, 6], [7]], "n": 2, "seed": -1, "temperature": 0.5, "top_p": 0.25, "top_k": -1,
		"min_p": 0.125, "typical_p": 0.75, "presence_penalty": 1, "frequency_penalty": -1, "repetition_penalty": 1.5, "min_tokens": 2,
		"user": "me", "logit_bias": {}, "best_of": 2, "suffix": null, "logprobs": null}`)
	if len(f.requests) != 4 {
		t.Fatalf("%d requests, want 4", len(f.requests))
	}
	for i, r := range f.requests {
		want := decoding.Options{
			MaxNewTokens: 16, MinNewTokens: 2, First: i, EOS: []int{2},
			Sampling:  decoding.Sampling{Temperature: 0.5, TopP: 0.25, MinP: 0.125, TypicalP: 0.75, Seed: 1<<64 - 1},
			Penalties: decoding.Penalties{Repetition: 1.5, Presence: 1, Frequency: -1},
		}
		prompt := [][]int32{{5, 6}, {5, 6}, {7}, {7}}[i]
		if !reflect.DeepEqual(r.Options, want) || !reflect.DeepEqual(r.Prompt, prompt) || r.LogProbs != -1 {
			t.Errorf("request %d is %+v, want prompt %v and options %+v", i, r, prompt, want)
		}
	}
	f.requests = nil
	s.answer("/v1/completions", `{"model": "tiny", "prompt": "A", "ignore_eos": true, "max_tokens": 30}`)
	if o := f.requests[0].Options; o.MinNewTokens != 30 || o.MaxNewTokens != 30 {
		t.Errorf("without an end token, a text is asked for as %+v", o)
	}
	f.requests = nil
	s.answer("/v1/completions", `{"model": "tiny", "prompt": "A"}`)
	s.answer("/v1/completions", `{"model": "tiny", "prompt": "A"}`)
	a, b := f.requests[0].Options, f.requests[1].Options
	if a.Sampling.Temperature != 1 || a.MaxNewTokens != 16 || len(a.EOS) != 1 || a.Sampling.Seed == b.Sampling.Seed {
		t.Errorf("without settings, a text is asked for as %+v, and the next as %+v", a, b)
	}
}

// A stream has the same text as an answer in one piece, in OpenAI's chunks.
func TestCompletionStream(t *testing.T) {
	s := start(t, config(t, newFake(t, 4, 8)))
	const request = `{"model": "tiny", "prompt": "A", "max_tokens": 100, "logprobs": 2, "n": 2, "stream": `
	whole := s.answer("/v1/completions", request+`false}`)
	events, done := s.events("/v1/completions", request+`true, "stream_options": {"include_usage": true}}`)
	if !done {
		t.Error("no [DONE] at the end")
	}
	last := events[len(events)-1]
	if choices := last["choices"].([]any); len(choices) > 0 || !reflect.DeepEqual(last["usage"], whole["usage"]) {
		t.Errorf("the last chunk is %v, want no choices and usage %v", last, whole["usage"])
	}
	texts, reasons, offsets := map[float64]string{}, map[float64]any{}, map[float64][]any{}
	for _, e := range events[:len(events)-1] {
		if used, ok := e["usage"]; !ok || used != nil || e["object"] != "text_completion" {
			t.Errorf("a chunk is %v, want usage null", e)
		}
		c := e["choices"].([]any)[0].(map[string]any)
		i := c["index"].(float64)
		if reasons[i] != nil {
			t.Errorf("chunk %v after the end", c)
		}
		texts[i] += c["text"].(string)
		reasons[i] = c["finish_reason"]
		if more, ok := c["logprobs"].(map[string]any)["text_offset"].([]any); ok {
			offsets[i] = append(offsets[i], more...)
		}
	}
	for _, c := range whole["choices"].([]any) {
		c := c.(map[string]any)
		i := c["index"].(float64)
		if texts[i] != c["text"] || texts[i] != " "+river || reasons[i] != c["finish_reason"] {
			t.Errorf("streamed %q (%v), whole %q (%v)", texts[i], reasons[i], c["text"], c["finish_reason"])
		}
		l := c["logprobs"].(map[string]any)
		if !reflect.DeepEqual(offsets[i], l["text_offset"].([]any)) {
			t.Errorf("streamed offsets %v, whole %v", offsets[i], l["text_offset"])
		}
		tokens := ""
		for _, token := range l["tokens"].([]any) {
			tokens += token.(string)
		}
		if n := len(offsets[i]); tokens != " "+river+"</s>" || len(l["tokens"].([]any)) != n || len(l["token_logprobs"].([]any)) != n || len(l["top_logprobs"].([]any)) != n {
			t.Errorf("probabilities of %q, want those of the text: %v", tokens, l)
		}
	}
	// As vLLM counts, with each chunk.
	events, _ = s.events("/v1/completions", `{"model": "tiny", "prompt": "A", "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}}`)
	used := 0.0
	for _, e := range events {
		now := e["usage"].(map[string]any)["completion_tokens"].(float64)
		if now < used {
			t.Errorf("%v tokens after %v", now, used)
		}
		used = now
	}
	if used != 16 {
		t.Errorf("%v tokens in all, want 16", used)
	}
}

func chatConfig(t *testing.T, e Engine) Config {
	c := config(t, e)
	var err error
	c.Model.Chat, err = chat.New(`{% for m in messages %}<{{ m.role }}>{% if m.role == "system" and not loop.first %}{{ raise_exception("the system speaks first") }}{% endif %}{{ m.content }}{% endfor %}`, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChat(t *testing.T) {
	f := newFake(t, 4, 8)
	s := start(t, chatConfig(t, f))
	const messages = `"messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Name "}, {"type": "text", "text": "a river."}]}]`
	equal(t, s.answer("/v1/chat/completions", `{"model": "tiny", `+messages+`}`),
		`{"object": "chat.completion", "model": "tiny", "choices": [
			{"index": 0, "message": {"role": "assistant", "content": "`+river+`", "refusal": null}, "logprobs": null, "finish_reason": "stop"}],
		  "usage": {"prompt_tokens": 25, "completion_tokens": 24, "total_tokens": 49, "prompt_tokens_details": {"cached_tokens": 2}}}`)
	r := f.requests[0]
	if want := tokenizer(t).Encode("<system>Be brief.<user>Name a river.", false); !reflect.DeepEqual(r.Prompt, want) || r.Options.MaxNewTokens != 200-len(want) {
		t.Errorf("the engine was asked for %+v, want prompt %v and the room that is left", r, want)
	}
	events, done := s.events("/v1/chat/completions", `{"model": "tiny", "stream": true, "max_completion_tokens": 2, `+messages+`}`)
	if len(events) != 3 || !done {
		t.Fatalf("%d chunks, done %v: %v", len(events), done, events)
	}
	for i, want := range []string{
		`{"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": null, "finish_reason": null}`,
		`{"index": 0, "delta": {"content": "The "}, "logprobs": null, "finish_reason": null}`,
		`{"index": 0, "delta": {}, "logprobs": null, "finish_reason": "length"}`,
	} {
		equal(t, events[i], `{"object": "chat.completion.chunk", "model": "tiny", "choices": [`+want+`]}`)
	}
	equal(t, s.answer("/v1/chat/completions", `{"model": "tiny", "logprobs": true, "top_logprobs": 1, "max_tokens": 2, `+messages+`}`)["choices"].([]any)[0].(map[string]any)["logprobs"].(map[string]any),
		`{"content": [{"token": "", "logprob": -0.5, "bytes": [], "top_logprobs": [{"token": "", "logprob": -0.5, "bytes": []}]},
			{"token": "The ", "logprob": -0.5, "bytes": [84, 104, 101, 32], "top_logprobs": [{"token": " ", "logprob": -0.5, "bytes": [32]}]}], "refusal": null}`)
}

func TestModels(t *testing.T) {
	const tiny = `{"id": "tiny", "object": "model", "created": 7, "owned_by": "longform", "max_model_len": 200, "chat": false, "single_message": false}`
	s := New(config(t, newFake(t, 1, 1)))
	s.created = 7
	for path, want := range map[string]string{
		"/v1/models":      `{"object": "list", "data": [` + tiny + `]}`,
		"/v1/models/tiny": tiny,
		"/healthz":        `{"status": "ok"}`,
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1"+path, nil))
		var got, wanted any
		if err := errors.Join(json.Unmarshal(w.Body.Bytes(), &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
			t.Fatal(path, err)
		}
		if w.Code != 200 || !reflect.DeepEqual(got, wanted) {
			t.Errorf("%s: status %d, got %v, want %v", path, w.Code, got, wanted)
		}
	}
}

// A stream says that it waits, so that nobody takes it for dead, and goes on.
func TestPing(t *testing.T) {
	f := newFake(t, 1, 8)
	f.gate = make(chan struct{})
	c := chatConfig(t, f)
	c.Ping = time.Millisecond
	s := start(t, c)
	for path, prompt := range map[string]string{"/v1/completions": `"prompt": "A"`, "/v1/chat/completions": `"messages": [{"role": "user", "content": "A"}]`} {
		response := s.post(path, `{"model": "tiny", "max_tokens": 1, "stream": true, `+prompt+`}`)
		defer response.Body.Close()
		waited := make([]byte, len(": waiting\n\n"))
		if _, err := io.ReadFull(response.Body, waited); err != nil || string(waited) != ": waiting\n\n" {
			t.Errorf("%s began with %q (%v)", path, waited, err)
		}
		f.gate <- struct{}{}
		rest, err := io.ReadAll(response.Body)
		if err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") || !strings.Contains(string(rest), `"finish_reason":"length"`) {
			t.Errorf("%s went on with %s (%v)", path, rest, err)
		}
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		f.gate <- struct{}{}
	}()
	equal(t, s.answer("/v1/completions", `{"model": "tiny", "prompt": "A", "max_tokens": 1}`), `{"object": "text_completion", "model": "tiny",
		"choices": [{"text": " ", "index": 0, "logprobs": null, "finish_reason": "length"}],
		"usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}}`)
}
