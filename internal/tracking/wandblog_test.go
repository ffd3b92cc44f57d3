package tracking

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// Where blocks end, as LevelDB's doc/log_format.md has it: fewer than seven bytes are left empty, and seven take a chunk
// without data.
func TestFrameAtTheEndOfABlock(t *testing.T) {
	data := []byte("record")
	for left := 1; left <= 20; left++ {
		got := frame(int64(3*blockSize-left), data)
		kinds, empty := []byte{chunkFull}, 0
		switch {
		case left < chunkHeader:
			empty = left
		case left < chunkHeader+len(data):
			kinds = []byte{chunkFirst, chunkLast}
		}
		if !bytes.Equal(got[:empty], make([]byte, empty)) {
			t.Errorf("%d bytes left: % x", left, got)
		}
		var joined []byte
		for rest := got[empty:]; len(rest) > 0; kinds = kinds[1:] {
			size := int(rest[4]) | int(rest[5])<<8
			if len(kinds) == 0 || rest[6] != kinds[0] {
				t.Fatalf("%d bytes left: chunk of type %d, want %v", left, rest[6], kinds)
			}
			joined = append(joined, rest[chunkHeader:chunkHeader+size]...)
			rest = rest[chunkHeader+size:]
		}
		if len(kinds) > 0 || !bytes.Equal(joined, data) {
			t.Errorf("%d bytes left: %q, and no chunk of types %v", left, joined, kinds)
		}
	}
}

// What is written comes back, up to where a file is cut.
func TestRecordsComeBack(t *testing.T) {
	file := []byte(wandbHeader)
	var ends []int
	for i := range 300 {
		text := bytes.Repeat([]byte{byte(i)}, i*i)
		file = append(file, frame(int64(len(file)), message(nil).varint(1, uint64(i)).text(recordRun, string(text)))...)
		ends = append(ends, len(file))
	}
	for _, cut := range []int{len(file), len(file) - 1, ends[200], ends[200] - 1, ends[0], 8, 7, 0} {
		n := 0
		for field, r := range wandbRecords(file[:cut]) {
			if field != protowire.Number(recordRun) || r.number != n || len(r.content) != n*n || r.end != int64(ends[n]) {
				t.Fatalf("cut at %d: record %d is %s", cut, n, fmt.Sprint(field, r.number, len(r.content), r.end))
			}
			n++
		}
		if n < 300 && ends[n] <= cut || n > 0 && ends[n-1] > cut {
			t.Errorf("cut at %d: %d records", cut, n)
		}
	}
}
