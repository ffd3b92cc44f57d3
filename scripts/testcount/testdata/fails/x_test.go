package fails

import "testing"

func TestGood(t *testing.T) { t.Log("chatter") }

func TestBad(t *testing.T) {
	t.Run("inner", func(t *testing.T) { t.Error("why it failed") })
}
