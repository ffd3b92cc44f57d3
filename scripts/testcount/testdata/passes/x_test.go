package passes

import "testing"

func TestParent(t *testing.T) {
	t.Log("chatter")
	t.Run("one", func(t *testing.T) {})
	t.Run("two", func(t *testing.T) {})
}
