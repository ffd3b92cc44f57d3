package serving

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/chat"
)

// refused checks a response's error.
func refused(t *testing.T, response *http.Response, status int, param, code, message string) {
	t.Helper()
	defer response.Body.Close()
	s := running{t: t}
	e, ok := s.object(response.Body)["error"].(map[string]any)
	if !ok {
		t.Fatalf("status %d without an error", response.StatusCode)
	}
	text := func(key string) string { return strings.TrimPrefix(fmt.Sprint(e[key]), "<nil>") }
	if response.StatusCode != status || text("param") != param || text("code") != code || !strings.Contains(text("message"), message) {
		t.Errorf("status %d, error %v; want %d, param %q, code %q and %q", response.StatusCode, e, status, param, code, message)
	}
	kind := "invalid_request_error"
	if status == 429 {
		kind = "rate_limit_error"
	} else if status >= 500 {
		kind = "server_error"
	}
	if e["type"] != kind || len(e) != 4 {
		t.Errorf("error %v, want type %s and four keys", e, kind)
	}
	if (status == 429 || status == 503) != (response.Header.Get("Retry-After") != "") {
		t.Errorf("status %d with Retry-After %q", status, response.Header.Get("Retry-After"))
	}
}

func TestWrongInput(t *testing.T) {
	f := newFake(t, 1, 8)
	plain, chatty := start(t, config(t, f)), start(t, chatConfig(t, f))
	c := config(t, f)
	c.Model.Chat = chat.LongForm(data.Format{})
	single := start(t, c)
	const say = `"messages": [{"role": "user", "content": "Hi"}]`
	for _, test := range []struct {
		name, path, body     string // without a path, /v1/completions
		status               int    // 0: 400
		param, code, message string
	}{
		{name: "not JSON", body: `{"model": "tiny",`, message: "the body isn't JSON: unexpected end"},
		{name: "no body", message: "the body isn't JSON"},
		{name: "two objects", body: `{} {}`, message: "the body isn't JSON"},
		{name: "a list", body: `[1]`, message: "the body must be a JSON object"},
		{name: "null", body: `null`, message: "the body must be a JSON object"},
		{name: "too large", body: `{"prompt": "` + strings.Repeat("x", 1<<20) + `"}`, status: 413, message: "more than 1048576 bytes"},
		{name: "unknown", body: `{"colour": 1}`, param: "colour", code: "unknown_parameter", message: `unknown parameter "colour"`},
		{name: "misspelt", body: `{"max_token": 1}`, param: "max_token", code: "unknown_parameter", message: `did you mean "max_tokens"?`},
		{name: "other case", body: `{"Prompt": "A"}`, param: "Prompt", code: "unknown_parameter", message: `did you mean "prompt"?`},
		{name: "of chat", body: `{` + say + `}`, param: "messages", code: "unknown_parameter"},
		{name: "no model", body: `{"prompt": "A"}`, param: "model", message: `no model given; this server has "tiny"`},
		{name: "other model", body: `{"model": "huge", "prompt": "A"}`, status: 404, param: "model", code: "model_not_found", message: `no model "huge"`},
		{name: "model of another type", body: `{"model": 1}`, param: "model", message: "model must be a string"},

		{name: "no prompt", body: `{"model": "tiny"}`, param: "prompt", message: "no prompt given"},
		{name: "prompt null", body: `{"model": "tiny", "prompt": null}`, param: "prompt", message: "prompt must be a string, a list"},
		{name: "prompt a number", body: `{"model": "tiny", "prompt": 7}`, param: "prompt", message: "prompt must be a string, a list"},
		{name: "no prompts", body: `{"model": "tiny", "prompt": []}`, param: "prompt", message: "not empty"},
		{name: "mixed prompts", body: `{"model": "tiny", "prompt": ["A", 7]}`, param: "prompt", message: "prompt must be"},
		{name: "empty ids", body: `{"model": "tiny", "prompt": [[5], []]}`, param: "prompt", message: "prompt 1 is empty"},
		{name: "fractional ids", body: `{"model": "tiny", "prompt": [1.5]}`, param: "prompt", message: "prompt must be"},
		{name: "unknown id", body: `{"model": "tiny", "prompt": [5, 768]}`, param: "prompt", message: "the token id 768; the model's are from 0 to 767"},
		{name: "negative id", body: `{"model": "tiny", "prompt": [-1]}`, param: "prompt", message: "the token id -1"},
		{name: "long prompt", body: `{"model": "tiny", "prompt": "` + strings.Repeat("a b ", 200) + `"}`, param: "prompt", code: "context_length_exceeded", message: "longest text has 200 tokens, and you asked for"},
		{name: "long text", body: `{"model": "tiny", "prompt": [5, 6], "max_tokens": 199}`, param: "prompt", code: "context_length_exceeded", message: "201: 2 in the prompt and 199 after it"},
		{name: "too many texts", body: `{"model": "tiny", "prompt": ["A", "B", "C"], "n": 3}`, param: "n", message: "3 prompts with 3 texts each are 9 texts; a request may ask for 4"},

		{name: "too many texts of what is no prompt", body: `{"model": "tiny", "prompt": [[-1], [5]], "n": 3}`, param: "n", message: "are 6 texts"},
		{name: "too many texts of what is no conversation", path: "chat", body: `{"model": "tiny", "n": 5, "messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Hi"}]}`, param: "n", message: "are 5 texts"},

		{name: "hot", body: `{"model": "tiny", "prompt": "A", "temperature": 2.1}`, param: "temperature", message: "is 2.1; it must be from 0 to 2"},
		{name: "cold", body: `{"model": "tiny", "prompt": "A", "temperature": -1}`, param: "temperature"},
		{name: "temperature a string", body: `{"model": "tiny", "prompt": "A", "temperature": "1"}`, param: "temperature", message: "temperature must be a number"},
		{name: "infinite", body: `{"model": "tiny", "prompt": "A", "temperature": 1e999}`, param: "temperature", message: "temperature must be a number"},
		{name: "no nucleus", body: `{"model": "tiny", "prompt": "A", "top_p": 0}`, param: "top_p", message: "must be above 0"},
		{name: "no token", body: `{"model": "tiny", "prompt": "A", "max_tokens": 0}`, param: "max_tokens", message: "must be from 1"},
		{name: "half a token", body: `{"model": "tiny", "prompt": "A", "max_tokens": 1.5}`, param: "max_tokens", message: "max_tokens must be an integer"},
		{name: "no text", body: `{"model": "tiny", "prompt": "A", "n": 0}`, param: "n", message: "must be from 1 to 128"},
		{name: "more than asked", body: `{"model": "tiny", "prompt": "A", "min_tokens": 17}`, param: "min_tokens", message: "min_tokens is 17, and the text can have 16"},
		{name: "penalty", body: `{"model": "tiny", "prompt": "A", "presence_penalty": 3}`, param: "presence_penalty"},
		{name: "other penalty", body: `{"model": "tiny", "prompt": "A", "frequency_penalty": -3}`, param: "frequency_penalty"},
		{name: "reward", body: `{"model": "tiny", "prompt": "A", "repetition_penalty": 0}`, param: "repetition_penalty"},
		{name: "seed", body: `{"model": "tiny", "prompt": "A", "seed": "dice"}`, param: "seed", message: "seed must be an integer"},
		{name: "17 stops", body: `{"model": "tiny", "prompt": "A", "stop": ["a"` + strings.Repeat(`, "b"`, 16) + `]}`, param: "stop", message: "up to 16 strings"},
		{name: "tokens that stop", body: `{"model": "tiny", "prompt": "A", "stop_token_ids": [5]}`, param: "stop_token_ids", message: "isn't supported"},
		{name: "with special tokens", body: `{"model": "tiny", "prompt": "A", "skip_special_tokens": false}`, param: "skip_special_tokens", message: "isn't supported"},
		{name: "empty stop", body: `{"model": "tiny", "prompt": "A", "stop": ""}`, param: "stop", message: "none of them empty"},
		{name: "stop a number", body: `{"model": "tiny", "prompt": "A", "stop": [1]}`, param: "stop", message: "stop must be a string"},
		{name: "stream a string", body: `{"model": "tiny", "prompt": "A", "stream": "yes"}`, param: "stream", message: "stream must be true or false"},
		{name: "options without stream", body: `{"model": "tiny", "prompt": "A", "stream_options": {}}`, param: "stream_options", message: "is for streams"},
		{name: "unknown option", body: `{"model": "tiny", "prompt": "A", "stream_options": {"usage": true}}`, param: "stream_options.usage", code: "unknown_parameter"},
		{name: "bias", body: `{"model": "tiny", "prompt": "A", "logit_bias": {"5": 1}}`, param: "logit_bias", message: "logit_bias isn't supported"},
		{name: "suffix", body: `{"model": "tiny", "prompt": "A", "suffix": "B"}`, param: "suffix", message: "suffix isn't supported"},
		{name: "best of more", body: `{"model": "tiny", "prompt": "A", "best_of": 2}`, param: "best_of"},
		{name: "six logprobs", body: `{"model": "tiny", "prompt": "A", "logprobs": 6}`, param: "logprobs"},
		{name: "all of the room", body: `{"model": "tiny", "prompt": [5` + strings.Repeat(", 5", 199) + `], "max_tokens": 0, "echo": true}`, param: "prompt", message: "has 200 tokens; at most 199 can be told of"},
		{name: "nothing to write", body: `{"model": "tiny", "prompt": "A", "max_tokens": 0}`, param: "max_tokens", message: "must be from 1"},

		{name: "no template", path: "/v1/chat/completions", body: `{"model": "tiny", ` + say + `}`, code: "no_chat_template", message: "use /v1/completions"},
		{name: "no messages", path: "chat", body: `{"model": "tiny"}`, param: "messages", message: "no messages given"},
		{name: "messages a text", path: "chat", body: `{"model": "tiny", "messages": "Hi"}`, param: "messages", message: "messages must be a list of messages"},
		{name: "message a text", path: "chat", body: `{"model": "tiny", "messages": ["Hi"]}`, param: "messages[0]", message: "messages[0] must be an object"},
		{name: "role", path: "chat", body: `{"model": "tiny", "messages": [{"role": "user", "content": "Hi"}, {"role": "tool", "content": "Hi"}]}`, param: "messages[1].role", message: "must be system, developer, user or assistant"},
		{name: "no content", path: "chat", body: `{"model": "tiny", "messages": [{"role": "user"}]}`, param: "messages[0].content", message: "content must be a string or a list"},
		{name: "picture", path: "chat", body: `{"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}`, param: "messages[0].content", message: "this model reads text only"},
		{name: "unknown key", path: "chat", body: `{"model": "tiny", "messages": [{"role": "user", "contents": "Hi"}]}`, param: "messages[0].content", message: "content must be a string or a list"},
		{name: "calls of tools", path: "chat", body: `{"model": "tiny", "messages": [{"role": "assistant", "content": "Hi", "tool_calls": [{}]}]}`, param: "messages[0].tool_calls", message: "isn't supported"},
		{name: "the rest of an answer", path: "chat", body: `{"model": "tiny", "messages": [{"role": "assistant", "content": "Hi", "prefix": true}]}`, param: "messages[0].prefix", message: "isn't supported"},
		{name: "a certain tool", path: "chat", body: `{"model": "tiny", "tool_choice": "required", ` + say + `}`, param: "tool_choice", message: "tool_choice isn't supported"},
		{name: "tools", path: "chat", body: `{"model": "tiny", "tools": [{"type": "function"}], ` + say + `}`, param: "tools", message: "tools isn't supported"},
		{name: "format", path: "chat", body: `{"model": "tiny", "response_format": {"type": "json_object"}, ` + say + `}`, param: "response_format"},
		{name: "21 logprobs", path: "chat", body: `{"model": "tiny", "logprobs": true, "top_logprobs": 21, ` + say + `}`, param: "top_logprobs"},
		{name: "less than none", path: "chat", body: `{"model": "tiny", "top_logprobs": -5, ` + say + `}`, param: "top_logprobs", message: "without"},
		{name: "top of none", path: "chat", body: `{"model": "tiny", "top_logprobs": 1, ` + say + `}`, param: "top_logprobs", message: "without"},
		{name: "refused by the template", path: "chat", body: `{"model": "tiny", "messages": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Hi"}]}`, param: "messages", message: "the system speaks first"},
		{name: "conversation without a template", path: "single", body: `{"model": "tiny", "messages": [{"role": "system", "content": "Hi"}, {"role": "user", "content": "Hi"}]}`, param: "messages", message: "the model has no chat template: it was trained on single instructions"},
		{name: "no token under its new name", path: "chat", body: `{"model": "tiny", "max_completion_tokens": 0, ` + say + `}`, param: "max_completion_tokens", message: "max_completion_tokens is 0; it must be from 1"},
		{name: "long conversation", path: "chat", body: `{"model": "tiny", "max_tokens": 300, ` + say + `}`, param: "messages", code: "context_length_exceeded"},

		{name: "no such path", path: "/v1/embeddings", body: `{}`, status: 404, message: "no /v1/embeddings here; there are /v1/completions"},
		{name: "wrong method", path: "/v1/models", body: `{}`, status: 405, message: "/v1/models is for GET, not POST"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, path := *plain, cmp.Or(test.path, "/v1/completions")
			switch path {
			case "chat":
				s, path = *chatty, "/v1/chat/completions"
			case "single":
				s, path = *single, "/v1/chat/completions"
			}
			s.t = t
			refused(t, s.post(path, test.body), cmp.Or(test.status, 400), test.param, test.code, test.message)
		})
	}
	if len(f.requests) > 0 {
		t.Errorf("the engine was asked for %v", f.requests)
	}
}

func TestWhoMayAsk(t *testing.T) {
	open := start(t, config(t, newFake(t, 1, 1)))
	c := config(t, newFake(t, 1, 1))
	c.APIKey = "secret"
	locked := start(t, c)
	c.Origins = []string{"*"}
	welcoming := start(t, c)
	c.APIKey, c.Origins = "", []string{"http://localhost:3000"}
	known := start(t, c)
	const body = `{"model": "tiny", "prompt": "A"}`
	for _, test := range []struct {
		name    string
		s       *running
		headers []string
		status  int
		code    string
	}{
		{"anyone here", open, nil, 200, ""},
		{"by name", open, []string{"Host", "localhost:80"}, 200, ""},
		{"by address", open, []string{"Host", "[::1]:80"}, 200, ""},
		{"by a name of its own", open, []string{"Host", "models.localhost:80"}, 200, ""},
		{"by the name that containers have for it", open, []string{"Host", "host.docker.internal:80"}, 200, ""},
		{"by a name that came to mean this machine", open, []string{"Host", "example.com"}, 403, ""},
		{"another site's page", open, []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"another origin", open, []string{"Origin", "http://example.com"}, 403, ""},
		{"own page", open, []string{"Sec-Fetch-Site", "same-origin"}, 200, ""},
		{"a form", open, []string{"Content-Type", "text/plain"}, 415, ""},
		{"JSON in UTF-8", open, []string{"Content-Type", "application/json; charset=utf-8"}, 200, ""},
		{"no key", locked, nil, 401, "invalid_api_key"},
		{"wrong key", locked, []string{"Authorization", "Bearer secre"}, 401, "invalid_api_key"},
		{"other scheme", locked, []string{"Authorization", "Basic secret"}, 401, "invalid_api_key"},
		{"key", locked, []string{"Authorization", "Bearer secret"}, 200, ""},
		{"key, by name", locked, []string{"Authorization", "Bearer secret", "Host", "example.com"}, 200, ""},
		{"key, another site's page", locked, []string{"Authorization", "Bearer secret", "Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"a page that is welcome", known, []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost:3000"}, 200, ""},
		{"one that isn't", known, []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://localhost:3001"}, 403, ""},
		{"welcome, by a name that came to mean this machine", known, []string{"Host", "example.com", "Origin", "http://localhost:3000"}, 403, ""},
		{"any page", welcoming, []string{"Authorization", "Bearer secret", "Sec-Fetch-Site", "cross-site", "Origin", "http://example.com"}, 200, ""},
		{"any page, no key", welcoming, []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://example.com"}, 401, "invalid_api_key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *test.s
			s.t = t
			response := s.post("/v1/completions", body, test.headers...)
			if test.status != 200 {
				refused(t, response, test.status, "", test.code, "")
			} else if response.Body.Close(); response.StatusCode != 200 {
				t.Error(response.Status)
			}
			want := ""
			if origin := response.Request.Header.Get("Origin"); test.s == welcoming || test.s == known && origin == "http://localhost:3000" {
				want = origin
			}
			if allowed := response.Header.Get("Access-Control-Allow-Origin"); allowed != want {
				t.Errorf("pages of %q may read answers, not of %q", allowed, want)
			}
		})
	}
	// Before a page of elsewhere sends what a form couldn't, the browser asks whether it may, without a key.
	for _, test := range []struct {
		name, origin string
		s            *running
		status       int
	}{
		{"any page", "http://example.com", welcoming, 204},
		{"a page that is welcome", "http://localhost:3000", known, 204},
		{"one that isn't", "http://localhost:3001", known, 405},
		{"one of elsewhere", "http://example.com", open, 405},
		{"one of elsewhere, where a key is asked for", "http://example.com", locked, 401},
	} {
		response := test.s.send("OPTIONS", "/v1/chat/completions", "", "Origin", test.origin, "Sec-Fetch-Site", "cross-site",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization, content-type")
		response.Body.Close()
		var allowed []string
		for _, of := range []string{"Origin", "Methods", "Headers"} {
			allowed = append(allowed, response.Header.Get("Access-Control-Allow-"+of))
		}
		want := []string{test.origin, "GET, POST", "authorization, content-type"}
		if test.status != 204 {
			want = make([]string, 3)
		}
		if response.StatusCode != test.status || !slices.Equal(allowed, want) {
			t.Errorf("%s asks before it sends: %s, allowed %q, want %q", test.name, response.Status, allowed, want)
		}
	}
	for path, want := range map[string]int{"/": 200, "/healthz": 200, "/health": 200, "/metrics": 200, "/v1/models": 401, "/v1/models/tiny": 401, "/v1/nothing": 401, "/v1/../v1/models": 401} {
		response, err := http.Get(locked.url + path)
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != want {
			t.Errorf("%s without a key: %s, want %d", path, response.Status, want)
		}
	}
}
