// Package metrics scores texts against references exactly as the field's reference
// implementations do, so that figures can stand beside published ones: METEOR as
// NLTK 3.10.4 gives it, ROUGE as rouge-score 0.1.2, BLEU and chrF as sacrebleu
// 2.6.0; and it says how far a mean can be trusted.
//
// Those implementations are Python, and what a word or a space is follows Python's
// strings and its two regular expression engines here.
package metrics
