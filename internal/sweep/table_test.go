package sweep

import (
	"strings"
	"testing"

	"github.com/longform-go/longform/internal/sweep/journal"
)

// Each trial has a line when it starts and one when it ends, also if both were between two looks; those that ended before the first
// look have none.
func TestTableTells(t *testing.T) {
	var out strings.Builder
	v, s := NewTable(&out, false), &Study{}
	trial := func(number int, state journal.State) journal.Trial {
		value := 0.5
		return journal.Trial{Number: number, State: state, Value: &value}
	}
	v.Update(s, []journal.Trial{trial(0, journal.Complete)}, "")
	v.Update(s, []journal.Trial{trial(0, journal.Complete), trial(1, journal.Running)}, "")
	v.Update(s, []journal.Trial{trial(0, journal.Complete), trial(1, journal.Complete), trial(2, journal.Complete)}, "")
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		got = append(got, strings.Join(strings.Fields(line)[:3], " "))
	}
	want := "trial 1 starts, trial 1 complete, trial 2 starts, trial 2 complete"
	if strings.Join(got, ", ") != want {
		t.Errorf("told of %s, want %s", strings.Join(got, ", "), want)
	}
}
