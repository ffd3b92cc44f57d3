package skips

import "testing"

func TestGood(t *testing.T) {}

func TestElsewhere(t *testing.T) { t.Skip("the reason") }
