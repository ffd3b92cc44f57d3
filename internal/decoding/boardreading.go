package decoding

import (
	"slices"
	"time"
)

// newReader reads the prompt of e alone.
func (b *Board) newReader(e *Entry) *reader {
	prompt := b.g.positions(1, len(e.prompt), padded)
	r := b.g.newReader([]*writing{&e.writing}, b.g.promptSize(1, prompt, padded(prompt), 32))
	r.tells = e.options.PromptLogProbs
	return r
}

// Read reads a chunk of the prompt that has waited longest for it, and returns when that is done. After the last, the text has its
// first token, and Write goes on with it unless that ended it. With Ahead, a prompt isn't read while it waits for programs and there
// are texts under way. Read says whether it read anything, or tried to.
func (b *Board) Read() (bool, error) {
	b.g.cancelQueued()
	e := b.next()
	if e == nil {
		return false, nil
	}
	read, err := b.readOn(e)
	switch {
	case err != nil:
		b.fail(e, err)
		return true, nil
	case read == nil:
		return true, nil
	}
	defer read.close()
	if e.FinishReason == "" {
		s, err := b.sizeToPlace(e)
		if err != nil {
			b.fail(e, err)
			return true, nil
		}
		if err := b.place(e, read, s); err != nil {
			return false, err
		}
	}
	if e.options.PromptLogProbs { // who scores prompts sends many, which would push out prefixes that are of use
		return true, nil
	}
	b.addPrefix(e.prompt, read)
	return true, nil
}

// fail takes a text off the board that can't be read or placed, which concerns no other.
func (b *Board) fail(e *Entry, err error) {
	b.Leave(e)
	b.g.Forget() // memory may have been what it lacked
	b.g.forgetFailed()
	e.Err = err
}

// sizeToPlace compiles what placing e takes, and writing it beside others, so that what fails does so before the board is changed, and
// returns the size that the board gets. Who is alone gets the first token before it waits for what writes more.
func (b *Board) sizeToPlace(e *Entry) (size, error) {
	s := b.sizeWith(e)
	all := b.programsToResize(s)
	if len(b.all()) > 0 {
		all = b.programsToWrite(s, b.writes(s, append(b.under(), e)...))
	}
	for _, p := range slices.Concat(b.programsToInsert(e, s), all) {
		if _, err := b.g.compile(p); err != nil {
			return s, err
		}
	}
	return s, nil
}

// readOn reads a chunk of the prompt of e, the first of the unread. After the last it returns what was read, with which e has its
// first token, and isn't unread any more.
func (b *Board) readOn(e *Entry) (*batch, error) {
	if b.reader == nil {
		b.reader = b.newReader(e)
		b.evictFor(b.reader)
		if err := b.g.resume(b.reader); err != nil {
			return nil, err
		}
		e.Cached = max(0, b.reader.at-b.reader.padding(e.prompt))
	}
	if err := b.reader.next(); err != nil {
		return nil, err
	}
	e.PromptLogProbs = b.reader.told
	if !b.reader.done() {
		return nil, b.reader.wait()
	}
	read, err := b.reader.batch([]*writing{&e.writing}, featuresOf(e))
	b.reader, b.unread = nil, b.unread[1:]
	if err != nil {
		return nil, err
	}
	first, err := read.first()
	if err != nil {
		read.close()
		return nil, err
	}
	e.take(first[0])
	return read, nil
}

// evictFor frees kept prefixes whose memory the texts and r may need, the one that r goes on behind last.
func (b *Board) evictFor(r *reader) {
	b.g.use(r)
	b.evict(b.g.cacheBytes(r.size))
}

// evict does so for texts and a board that may not have shrunk yet, beside which there are so many bytes.
func (b *Board) evict(beside int64) {
	b.g.evictFor(max(b.bytesAtMost(), b.g.cacheBytes(b.size())+beside))
}

// patience is how long the first text waits for its programs while others go on, and then they wait with it.
const patience = 2 * time.Minute

// goesOn says whether the first text is read now: it has its programs, or has waited for them long enough.
func (e *Entry) goesOn(ready bool) bool {
	switch {
	case ready:
		e.waitingSince = time.Time{}
	case e.waitingSince.IsZero():
		e.waitingSince = time.Now()
	}
	return ready || time.Since(e.waitingSince) > patience
}

// next is the text whose prompt is read next, now the first of the unread, or nil.
func (b *Board) next() *Entry {
	switch {
	case len(b.unread) == 0:
		return nil
	case !b.Ahead:
		return b.unread[0]
	case b.reader != nil:
		e := b.unread[0]
		for _, later := range b.unread[1:] {
			b.prepared(later)
		}
		if b.batch != nil && b.reader.last() && !e.goesOn(b.readyToPlace(e)) { // the board may have changed since it was prepared
			return nil
		}
		return e
	}
	i := slices.IndexFunc(b.unread, b.prepared)
	switch {
	case b.batch == nil: // nobody else waits
		i = max(i, 0)
	case b.unread[0].goesOn(i == 0):
		i = 0
	case i < 0:
		return nil
	}
	e := b.unread[i]
	b.unread = slices.Insert(slices.DeleteFunc(b.unread, func(u *Entry) bool { return u == e }), 0, e)
	return e
}

// addPrefix keeps what was read of a prompt, if there is memory for it besides the texts.
func (b *Board) addPrefix(prompt []int32, read *batch) {
	if b.g.parameters.Config.ReadsAtOnce() {
		return
	}
	b.g.addPrefix(prompt, read.prompted, read.cache)
	read.cache = nil
	b.evict(0)
}
