package models

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/longform-go/longform/models/blocks"
)

// Weights lists the weights of a tree in the order of its fields and gives each its Hugging Face name: the `weight` tags
// from the root, joined by dots, with the index after the tag of a slice. A field that embeds a group without a name of
// its own has the tag "".
func Weights(m Model) []*blocks.Weight {
	var found []*blocks.Weight
	walk(reflect.ValueOf(m), "", func(name string, v reflect.Value) {
		if w, ok := v.Interface().(*blocks.Weight); ok && w != nil {
			w.Name = name
			found = append(found, w)
		}
	})
	return found
}

// walk calls visit for every tagged field under v, with its dotted name.
func walk(v reflect.Value, name string, visit func(string, reflect.Value)) {
	visit(name, v)
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && v.Type() != reflect.TypeFor[*blocks.Weight]() {
			walk(v.Elem(), name, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), join(name, strconv.Itoa(i)), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if tag, ok := v.Type().Field(i).Tag.Lookup("weight"); ok {
				walk(v.Field(i), join(name, tag), visit)
			}
		}
	}
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "." + b
}

// LoRA says which projections are adapted and how (Hu et al., 2021).
type LoRA struct {
	Rank    int
	Alpha   float64
	Dropout float64
	// Targets are ends of module names, as PEFT's target_modules: "q_proj" adapts every "….q_proj".
	Targets []string
	// Quantize keeps the frozen projections in 4 bits (QLoRA; Dettmers et al., 2023), all but the head: those that
	// transformers chooses, and T5's wo.
	Quantize bool
}

// head is the name of an output projection of its own.
const head = "lm_head"

// AddLoRA freezes every weight of m and gives the target projections a low-rank update to train. A target that matches
// no projection is an error.
func AddLoRA(m Model, l LoRA) error {
	for _, w := range Weights(m) {
		w.Frozen = true
	}
	unused := slices.Clone(l.Targets)
	var available []string
	walk(reflect.ValueOf(m), "", func(name string, v reflect.Value) {
		if v.Type() != reflect.TypeFor[blocks.Linear]() {
			return
		}
		linear := v.Addr().Interface().(*blocks.Linear)
		linear.Weight.Quantized = l.Quantize && name != head
		last := name[strings.LastIndexByte(name, '.')+1:]
		if !slices.Contains(available, last) {
			available = append(available, last)
		}
		for _, target := range l.Targets {
			if name == target || strings.HasSuffix(name, "."+target) {
				linear.LoRA = blocks.NewLoRA(linear, l.Rank, l.Alpha, l.Dropout)
				unused = slices.DeleteFunc(unused, func(t string) bool { return t == target })
			}
		}
	})
	if len(unused) > 0 {
		return fmt.Errorf("lora target %q matches no projection of the model; it has %s", unused[0], strings.Join(available, ", "))
	}
	return nil
}

// AdaptedBy is the weight that a LoRA A matrix updates, by the matrix's name.
func AdaptedBy(name string) (weight string, ok bool) {
	module, ok := strings.CutSuffix(name, ".lora_A.weight")
	return module + ".weight", ok
}
