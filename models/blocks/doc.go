// Package blocks holds the parts that several architectures share: weights, projections, norms, attention, position
// encodings and the loss. A block is a struct whose fields are weights, tagged with the name Hugging Face gives them,
// and a Forward method that builds its arithmetic. No block asks which architecture it serves.
//
// Shapes: activations are [batch, seq, embed], heads are [batch, seq, heads, headDim]. Activations carry the dtype of
// the weights that were bound (float32 or bfloat16); norms, softmax and the loss compute in float32.
package blocks
