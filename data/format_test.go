package data

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func testRecords(t *testing.T) []Record {
	t.Helper()
	records, err := ReadRecords("testdata/records.jsonl", "train")
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// shifted is what a causal model predicts at each position of labels that
// transformers shifts by itself.
func shifted(labels []int32) []int32 { return append(slices.Clone(labels[1:]), NoLoss) }

func TestEncodeEqualsTransformers(t *testing.T) {
	for _, family := range families {
		for _, eoi := range []string{EOIText, EOIToken} {
			t.Run(family+" "+eoi, func(t *testing.T) {
				tok, want := openTest(t, family), readExpected(t, family)
				f := Format{EncoderDecoder: family == "t5", EOI: eoi, LossOn: LossAll, EOS: want.EOS}
				examples := want.Examples
				if f.EncoderDecoder {
					f.EOI = EOINone
				} else if eoi == EOIToken {
					var err error
					if tok, err = tok.WithToken(EOI); err != nil {
						t.Fatal(err)
					}
					examples = want.EOI.Examples
				}
				got, report, err := Encode(tok, f, testRecords(t))
				if err != nil {
					t.Fatal(err)
				}
				var sum Report
				for i, e := range got {
					labels := examples[i].Labels
					if !f.EncoderDecoder {
						labels = shifted(labels)
					}
					if !slices.Equal(e.Input, examples[i].Input) || !slices.Equal(e.Labels, labels) || e.Record != i {
						t.Errorf("record %d: %v, want input %v and labels %v", i, e, examples[i].Input, labels)
					}
					sum.Records++
					sum.Tokens += len(examples[i].Input)
					sum.Targets += countTargets(labels)
					sum.Longest = max(sum.Longest, len(examples[i].Input))
					if f.EncoderDecoder {
						sum.LongestTarget = max(sum.LongestTarget, len(labels))
					}
				}
				if len(got) != len(examples) || report != sum {
					t.Errorf("report %+v, want %+v", report, sum)
				}
			})
		}
	}
}

// With the loss on the output, the targets are the joint text's own tokens and
// spell the output.
func TestLossOnOutput(t *testing.T) {
	texts := rapid.SliceOfN(rapid.SampledFrom([]string{"word", " ", "é", "日本", "\n", "[EOI]", ".", "a", "\x00"}), 1, 10)
	for _, family := range []string{"llama", "opt"} {
		for _, eoi := range []string{EOIText, EOIToken, EOINone} {
			t.Run(family+" "+eoi, func(t *testing.T) {
				tok, err := openTest(t, family).WithToken(EOI)
				if err != nil {
					t.Fatal(err)
				}
				f := Format{EOI: eoi, LossOn: LossOutput, EOS: 2}
				all := f
				all.LossOn = LossAll
				rapid.Check(t, func(t *rapid.T) {
					r := Record{Input: strings.Join(texts.Draw(t, "input"), ""), Output: strings.Join(texts.Draw(t, "output"), "")}
					got, _, err := Encode(tok, f, []Record{r})
					if err != nil {
						t.Fatal(err)
					}
					joint, _, err := Encode(tok, all, []Record{r})
					if err != nil {
						t.Fatal(err)
					}
					if !slices.Equal(got[0].Input, joint[0].Input) {
						t.Fatal("the loss changed the tokens")
					}
					first := slices.IndexFunc(got[0].Labels, func(l int32) bool { return l != NoLoss })
					if !slices.Equal(got[0].Labels[first:], joint[0].Labels[first:]) {
						t.Fatalf("labels %v, want the end of %v", got[0].Labels, joint[0].Labels)
					}
					if family != "opt" {
						return // only where tokens are bytes do parts of a text spell it
					}
					prompt := "</s>" + f.Prompt(r.Input)
					before := tok.Decode(got[0].Input[:first+1], false)
					spelt := tok.Decode(got[0].Input[first+1:], false)
					if before+spelt != "</s>"+f.text(f.Prompt(r.Input), r.Output)+"</s>" || !strings.HasPrefix(prompt, before) {
						t.Fatalf("without a loss is %q, which is more than the prompt %q", before, prompt)
					}
					if longer := tok.Decode(got[0].Input[:first+2], false); strings.HasPrefix(prompt, longer) {
						t.Fatalf("a token of the prompt %q, the end of %q, has a loss", prompt, longer)
					}
				})
			})
		}
	}
}

func TestLossOnOutputSpellsTheOutput(t *testing.T) {
	for _, family := range []string{"llama", "opt"} {
		for _, eoi := range []string{EOIText, EOINone} {
			records := testRecords(t)
			tok := openTest(t, family)
			examples, _, err := Encode(tok, Format{EOI: eoi, LossOn: LossOutput, EOS: 2}, records)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range examples {
				targets := slices.DeleteFunc(slices.Clone(e.Labels), func(l int32) bool { return l == NoLoss })
				if got := strings.TrimSpace(tok.Decode(targets, true)); got != records[i].Output {
					t.Errorf("%s, eoi %s: the targets spell %q, want %q", family, eoi, got, records[i].Output)
				}
			}
		}
	}
}

func TestTruncation(t *testing.T) {
	records := testRecords(t)
	for _, family := range families {
		tok := openTest(t, family)
		f := Format{EncoderDecoder: family == "t5", EOI: EOIText, LossOn: LossOutput, EOS: 2}
		if f.EncoderDecoder {
			f.EOI, f.EOS = EOINone, 1
		}
		whole, wholeReport, err := Encode(tok, f, records)
		if err != nil {
			t.Fatal(err)
		}
		f.MaxLength = 25
		if f.EncoderDecoder {
			f.MaxLength, f.MaxTargetLength = 12, 60
		}
		got, report, err := Encode(tok, f, records)
		if err != nil {
			t.Fatal(err)
		}
		truncated, targets := 0, 0
		for i, e := range got {
			n := min(len(whole[i].Input), f.MaxLength)
			want := slices.Clone(whole[i].Input[:n])
			if len(whole[i].Input) > n {
				truncated++
				if f.EncoderDecoder {
					want[n-1] = f.EOS
				}
			}
			if !slices.Equal(e.Input, want) {
				t.Errorf("%s, record %d: input %v, want %v", family, i, e.Input, want)
			}
			if f.EncoderDecoder {
				m := min(len(whole[i].Labels), f.MaxTargetLength)
				if len(whole[i].Labels) > m {
					targets++
				}
				if len(e.Labels) != m || e.Labels[m-1] != f.EOS || !slices.Equal(e.Labels[:m-1], whole[i].Labels[:m-1]) {
					t.Errorf("record %d: target %v", i, e.Labels)
				}
			} else if !slices.Equal(e.Labels[:n-1], whole[i].Labels[:n-1]) || e.Labels[n-1] != NoLoss {
				t.Errorf("%s, record %d: labels %v", family, i, e.Labels)
			}
		}
		if truncated == 0 || report.Truncated != truncated || report.TruncatedTargets != targets || report.Tokens+report.CutTokens != wholeReport.Tokens {
			t.Errorf("%s: report %+v after %+v; %d inputs and %d targets were cut", family, report, wholeReport, truncated, targets)
		}
		if !f.EncoderDecoder && report.WithoutTargets == 0 {
			t.Errorf("%s: report %+v counts no example without targets", family, report)
		}
	}
}

func TestFormatErrors(t *testing.T) {
	tok := openTest(t, "llama")
	records := testRecords(t)
	for want, f := range map[string]Format{
		"unknown eoi":         {EOI: "maybe", LossOn: LossAll},
		"unknown loss":        {EOI: EOIText, LossOn: "input"},
		"no token [EOI]":      {EOI: EOIToken, LossOn: LossAll},
		"encoder-decoder":     {EOI: EOIText, LossOn: LossAll, MaxTargetLength: 3},
		"bare instruction":    {EOI: EOIText, LossOn: LossAll, EncoderDecoder: true},
		"cannot be negative":  {EOI: EOIText, LossOn: LossAll, MaxLength: -1},
		"no records to enco…": {},
	} {
		var err error
		if want == "no records to enco…" {
			want = "no records"
			_, _, err = Encode(tok, Format{EOI: EOIText, LossOn: LossAll}, nil)
		} else {
			_, _, err = Encode(tok, f, records)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", f, err, want)
		}
	}
}

// A token that holds the end of the prompt and the start of the output has a
// loss: else nothing would teach the model to begin the output.
func TestLossOnTokenAcrossTheBorder(t *testing.T) {
	tok, err := NewTokenizer([]byte(`{"version":"1.0","added_tokens":[],"decoder":null,
		"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false},
		"model":{"type":"BPE","vocab":{"a":0,"b":1,"Ċ":2,"ĊĊ":3},"merges":[["Ċ","Ċ"]]}}`))
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := Encode(tok, Format{EOI: EOINone, LossOn: LossOutput, EOS: 9}, []Record{{Input: "ab", Output: "\nb"}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int32{NoLoss, 3, 1, 9, NoLoss}; !slices.Equal(got[0].Labels, want) {
		t.Errorf("labels %v, want %v", got[0].Labels, want)
	}
}
