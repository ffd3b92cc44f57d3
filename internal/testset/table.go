package testset

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
)

// Print is the report for people.
func (r *Report) Print(out io.Writer) error {
	label := func(name string) string {
		if name == meteorName {
			return r.METEOR
		}
		return name
	}
	fmt.Fprintf(out, "%d records of %s, with %.0f%% intervals\n\n", r.Records, r.Data, 100*r.Confidence)
	err := table(out, func(row func(cells ...any)) {
		head := []any{""}
		for _, m := range r.Models {
			head = append(head, m.Model)
		}
		if r.Published != nil {
			for _, p := range r.Published.METEOR {
				head = append(head, p.Model+"*")
			}
		}
		row(head...)
		for _, m := range all {
			cells := []any{label(m.name)}
			for _, model := range r.Models {
				f := model.All.Figures[m.name]
				cells = append(cells, fmt.Sprintf("%.2f [%.2f, %.2f]", f.Value, f.Low, f.High))
			}
			if r.Published != nil && m.name == meteorName {
				for _, p := range r.Published.METEOR {
					cells = append(cells, fmt.Sprintf("%.1f", p.Value))
				}
			}
			row(cells...)
		}
	})
	if err != nil {
		return err
	}
	if p := r.Published; p != nil {
		fmt.Fprintf(out, "* METEOR as published by %s, on the %d records of %s", p.Paper, p.Records, p.Set)
		if r.METEOR != meteorName {
			fmt.Fprintf(out, "; %s can't be compared with it", r.METEOR)
		}
		fmt.Fprintln(out)
	}
	for _, m := range r.Models {
		if err := m.printSources(out, label); err != nil {
			return err
		}
	}
	return r.printComparisons(out, label)
}

func (s Scores) printSources(out io.Writer, label func(string) string) error {
	if len(s.Sources) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\n%s by source\n\n", s.Model)
	return table(out, func(row func(cells ...any)) {
		head := []any{"", "records"}
		for _, m := range all {
			head = append(head, label(m.name))
		}
		row(head...)
		group := func(name string, g Group) {
			cells := []any{name, g.Records}
			for _, m := range all {
				cells = append(cells, fmt.Sprintf("%.2f", g.Figures[m.name].Value))
			}
			row(cells...)
		}
		for _, g := range s.Sources {
			group(cmp.Or(g.Source, "no source"), g)
		}
		group("all", s.All)
	})
}

func (r *Report) printComparisons(out io.Writer, label func(string) string) error {
	for i := 0; i < len(r.Comparisons); {
		pair := r.Comparisons[i]
		fmt.Fprintf(out, "\n%s against %s\n\n", pair.First, pair.Second)
		err := table(out, func(row func(cells ...any)) {
			row("", "wins", "ties", "losses", "difference", "p")
			for ; i < len(r.Comparisons); i++ {
				c := r.Comparisons[i]
				if c.First != pair.First || c.Second != pair.Second {
					break
				}
				row(label(c.Metric), c.Wins, c.Ties, c.Losses, fmt.Sprintf("%+.2f", c.Difference), fmt.Sprintf("%.3f", c.P))
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// table aligns the cells of rows.
func table(out io.Writer, fill func(row func(cells ...any))) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fill(func(cells ...any) {
		for _, cell := range cells {
			fmt.Fprintf(w, "%v\t", cell)
		}
		fmt.Fprintln(w)
	})
	return w.Flush()
}
