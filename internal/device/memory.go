package device

/*
#include "seam.h"
*/
import "C"

import (
	"fmt"
	"os"
)

// makeRoom gives memory back to the system before a program runs that would take the process beyond what is set for it. malloc keeps
// what programs have freed, for the next run of the same; but pieces of several sizes don't fit into one another, so that programs of
// several shapes would in the end take as much as all of them together.
func (p *Program) makeRoom() {
	d := p.device
	if d.kind != CPU || d.Target() || d.last.Swap(p) == p {
		return
	}
	if d.most > 0 && resident()+p.Memory().Temporary > d.most {
		C.seam_trim()
	}
}

// resident is how many bytes of memory the process has; 0 if Linux doesn't tell.
func resident() int64 {
	text, _ := os.ReadFile("/proc/self/statm")
	var total, pages int64
	_, _ = fmt.Sscan(string(text), &total, &pages) // 0 then
	return pages * int64(os.Getpagesize())
}
