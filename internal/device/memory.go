package device

/*
#include "seam.h"
*/
import "C"

import (
	"fmt"
	"os"
	"time"
)

// makeRoom keeps programs on the CPU, where they take memory from malloc, from taking more than they need, where the process would
// have more than is set for it. A program that is started before another has ended takes memory besides that one's; so it waits. And
// malloc keeps what programs have freed, for the next run of the same; but pieces of several sizes don't fit into one another, so that
// programs of several shapes would in the end take as much as all of them together; so it gives them back to the system.
func (p *Program) makeRoom() {
	d := p.device
	if d.most == 0 {
		return
	}
	again := d.last.Swap(p) == p
	held := resident()
	if held < d.most/4 || held+p.Memory().Temporary < d.most || p.Memory().Temporary < d.most/64 {
		return // the first of which is known at once, and small programs aren't worth the wait
	}
	C.seam_settle()
	for range 5 {
		time.Sleep(time.Millisecond) // its memory is freed a little after a program has ended
		if again || resident()+p.Memory().Temporary < d.most {
			return // again it takes what it has freed
		}
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
