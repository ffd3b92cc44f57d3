package serving

// answer is that to a request for texts, and with a stream each chunk of it. C is how its interface tells of one text.
type answer[C any] struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	Model   string `json:"model"`
	Choices []C    `json:"choices"`
	Usage   any    `json:"usage,omitempty"` // usage, or null
}

func newAnswer[C any](s *Server, prefix, object string) answer[C] {
	return answer[C]{ID: newID(prefix), Object: object, Created: unixNow(), Model: s.config.Model.Name}
}

// endStream sends what comes after the last text, or, if writing failed, why.
func (a answer[C]) endStream(out *events, p *parameters, u usage, err error) error {
	if err != nil {
		return out.fail(err)
	}
	if p.includesUsage() {
		a.Choices, a.Usage = []C{}, u
		if err := out.send(a); err != nil {
			return err
		}
	}
	return out.done()
}
