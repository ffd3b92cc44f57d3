package decoding

import "time"

// Pause is how long a call of many steps should take where somebody looks at them as they come: the time between two pieces
// of a text, and between two looks at who joins and leaves. A call of one step may take longer.
const Pause = 100 * time.Millisecond

// NextCall is how many steps the next call should have for that, when the last one of so many took so long. What a
// compilation or a busy machine does to one call is made up for slowly.
func NextCall(last int, took time.Duration) int {
	fits := int(Pause * time.Duration(last) / max(took, time.Microsecond))
	return max(1, min(fits, 2*last, maxCall))
}
