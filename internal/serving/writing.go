package serving

import (
	"context"
	"slices"

	"github.com/longform-go/longform/internal/batching"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/textstream"
)

// job is what a request wants written: n texts after each prompt, in the order of the prompts.
type job struct {
	prompts    [][]int32
	param      string // what they come from, for errors
	n          int
	options    decoding.Options // without a limit of tokens, the texts of a prompt get otherwise
	usual      int              // most tokens of a text where the request doesn't say; 0: as many as there is room for
	endless    bool             // without end tokens
	stop       []string
	echo       []string // of each prompt, what its texts begin with, and their probabilities; nil: with what is written
	logProbs   int      // as batching.Request has it
	continues  bool     // texts go on after their prompts, and so may begin with a space
	tellsEnd   bool     // probabilities are those of end tokens, too
	promptOnly bool     // of an echo nothing else is told: the one token that is written isn't
}

// increment is what was added to a text.
type increment struct {
	index    int
	text     string
	logProbs []token // where asked for: the tokens added, and before the first those of the prompt
	finish   string  // of the last increment, why the text ended
	usage    usage   // of the request so far
}

// usage is OpenAI's account of a request.
type usage struct {
	Prompt     int `json:"prompt_tokens"`
	Completion int `json:"completion_tokens"`
	Total      int `json:"total_tokens"`
	Details    struct {
		Cached int `json:"cached_tokens"` // of the prompts, what was read for earlier ones
	} `json:"prompt_tokens_details"`
}

// checkNumber checks how many texts a request asks for, which is done before there is work with its prompts.
func (s *Server) checkNumber(prompts, n int) error {
	if all, most := prompts*n, min(s.share(), s.config.Engine.Stats().Queue); all > most {
		return wrong("n", "%d prompts with %d texts each are %d texts; a request may ask for %d", prompts, n, all, most)
	}
	return nil
}

// requests checks a job against what the model can read, and makes its requests to the engine.
func (s *Server) requests(j job) ([]batching.Request, error) {
	var all []batching.Request
	for i, prompt := range j.prompts {
		room := s.config.Model.MaxLength - len(prompt)
		o := j.options
		if o.MaxNewTokens == 0 {
			o.MaxNewTokens = room
			if j.usual > 0 {
				o.MaxNewTokens = min(room, j.usual)
			}
		}
		if j.endless {
			o.MinNewTokens = o.MaxNewTokens
		}
		o.PromptLogProbs = j.echo != nil && j.logProbs >= 0
		switch {
		case len(prompt) == 0:
			return nil, wrong(j.param, "prompt %d is empty, and the model can't write after nothing", i)
		case room < 1 && j.promptOnly:
			return nil, wrong(j.param, "prompt %d has %d tokens; at most %d can be told of", i, len(prompt), s.config.Model.MaxLength-1)
		case room < 1 || o.MaxNewTokens > room:
			asked := max(1, o.MaxNewTokens)
			e := wrong(j.param, "this model's longest text has %d tokens, and you asked for %d: %d in the prompt and %d after it; shorten the prompt or lower max_tokens",
				s.config.Model.MaxLength, len(prompt)+asked, len(prompt), asked)
			e.Code = new("context_length_exceeded")
			return nil, e
		case o.MinNewTokens > o.MaxNewTokens:
			return nil, wrong("min_tokens", "min_tokens is %d, and the text can have %d tokens", o.MinNewTokens, o.MaxNewTokens)
		}
		for range j.n {
			o.First = len(all)
			all = append(all, batching.Request{Prompt: prompt, Options: o, LogProbs: j.logProbs})
		}
	}
	return all, nil
}

// write has the engine write the texts of a job, and gives them to emit as they come; when nothing came for long, it calls wait, if
// there is one. It ends early, and gives the engine's places back, when ctx ends or either fails.
func (s *Server) write(ctx context.Context, j job, wait func() error, emit func(increment) error) (usage, error) {
	requests, err := s.requests(j)
	if err != nil {
		return usage{}, err
	}
	note := noteOf(ctx)
	release, err := s.clients.take(note.client, len(requests), s.share())
	if err != nil {
		return usage{}, err
	}
	defer release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	texts, inbox, err := s.submit(ctx, requests, j)
	if err != nil {
		return usage{}, err
	}
	u := usage{}
	for _, p := range j.prompts {
		u.Prompt += len(p)
	}
	u.Total = u.Prompt
	note.prompt = u.Prompt
	s.metrics.promptTokens.Add(float64(u.Prompt))
	for left := len(texts); left > 0; {
		arrived, err := inbox.take(ctx, s.config.Ping)
		if err != nil {
			return u, err
		}
		if len(arrived) == 0 && wait != nil {
			if err := wait(); err != nil {
				return u, err
			}
		}
		for _, a := range arrived {
			t := texts[a.index]
			if t.finished {
				continue
			}
			added, err := t.add(a.piece)
			if err != nil {
				return u, err
			}
			if a.index%j.n == 0 { // once a prompt
				u.Details.Cached += a.piece.Cached
			}
			if added.tokens > 0 {
				note.wrote(added.tokens)
				u.Completion += added.tokens
				u.Total += added.tokens
				s.metrics.completionTokens.Add(float64(added.tokens))
			}
			if t.finished {
				left--
			}
			if added.text != "" || len(added.logProbs) > 0 || added.finish != "" {
				added.usage = u
				if err := emit(added.increment); err != nil {
					return u, err
				}
			}
		}
	}
	return u, nil
}

// submit queues all requests or none.
func (s *Server) submit(ctx context.Context, requests []batching.Request, j job) ([]*text, *inbox, error) {
	// One at a time, lest two requests take places from each other that are enough for either.
	s.submitting.Lock()
	defer s.submitting.Unlock()
	texts, in := make([]*text, len(requests)), &inbox{ready: make(chan struct{}, 1)}
	for i, r := range requests {
		r.Client = noteOf(ctx).client
		own, cancel := context.WithCancel(ctx)
		pieces, err := s.config.Engine.Submit(own, r)
		if err != nil {
			cancel()
			return nil, nil, err // the caller ends ctx, and with it the requests before
		}
		texts[i] = newText(i, s.config.Model, j, r, cancel)
		go in.collect(i, pieces)
	}
	return texts, in, nil
}

// text is one text under way.
type text struct {
	index    int
	job      job
	request  batching.Request
	stream   *textstream.Stream
	teller   *teller // of the tokens that are told of, if any are
	begun    bool
	cancel   context.CancelFunc
	finished bool
}

func newText(index int, m Model, j job, r batching.Request, cancel context.CancelFunc) *text {
	t := &text{index: index, job: j, request: r, stream: textstream.New(m.Tokenizer, j.stop), cancel: cancel}
	after := j.continues && slices.ContainsFunc(r.Prompt, func(id int32) bool { return textstream.Shown(m.Tokenizer, id) })
	if after {
		t.stream.GoOn(m.anchor)
	}
	if j.logProbs >= 0 {
		t.teller = newTeller(m, !after || j.echo != nil)
	}
	return t
}

type addition struct {
	increment
	tokens int
}

// add takes what the engine has written. A stop string ends the text, and frees its place.
func (t *text) add(p batching.Piece) (addition, error) {
	if p.Err != nil {
		return addition{}, p.Err
	}
	a := addition{increment: increment{index: t.index, finish: p.FinishReason}}
	if !t.begun && t.job.echo != nil {
		a.text = t.job.echo[t.index/t.job.n]
		if t.request.Options.PromptLogProbs {
			a.logProbs = t.teller.prompt(t.request.Prompt, p.PromptLogProbs, a.text)
		}
	}
	t.begun = true
	if t.job.promptOnly {
		p.IDs, p.LogProbs, a.finish = nil, nil, decoding.Length
	}
	before := t.stream.Tokens()
	text, stopped := t.stream.Add(p.IDs)
	a.text += text
	a.tokens = t.stream.Tokens() - before
	logProbs := p.LogProbs[:min(a.tokens, len(p.LogProbs))]
	switch {
	case stopped:
		a.finish = decoding.Stop
	case a.finish != "":
		a.text += t.stream.Rest()
		if n := len(logProbs); n > 0 && !t.job.tellsEnd && slices.Contains(t.request.Options.EOS, int(logProbs[n-1].ID)) {
			logProbs = logProbs[:n-1]
		}
	}
	if t.teller != nil {
		a.logProbs = append(a.logProbs, t.teller.tokens(logProbs)...)
	}
	if a.finish != "" {
		t.finished = true
		t.cancel()
	}
	return a, nil
}
