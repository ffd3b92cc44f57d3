package panics

import "testing"

func TestPanic(t *testing.T) { panic("out of cheese") }
