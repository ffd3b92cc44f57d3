package tracking

import (
	"encoding/binary"
	"hash/crc32"
	"iter"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Event files are TensorFlow's: records framed as in tsl/lib/io/record_writer.h,
// each a message Event of tensorflow/core/util/event.proto. Numbers in what
// follows are field numbers of that file, of tensorflow/core/framework's
// summary.proto, tensor.proto and tensor_shape.proto, and of plugin_data.proto
// in TensorBoard's plugins.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is TFRecord's checksum: a CRC of data that holds CRCs is better off
// rotated and offset.
func masked(data []byte) uint32 {
	c := crc32.Checksum(data, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// record frames a message: its length, the length's checksum, the message, its
// checksum; little-endian.
func record(message []byte) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(message)))
	out = binary.LittleEndian.AppendUint32(out, masked(out))
	out = append(out, message...)
	return binary.LittleEndian.AppendUint32(out, masked(message))
}

// message is a protobuf message as it is built, in the order of the calls.
type message []byte

func (m message) varint(field protowire.Number, x uint64) message {
	return protowire.AppendVarint(protowire.AppendTag(m, field, protowire.VarintType), x)
}

func (m message) float(field protowire.Number, x float32) message {
	return protowire.AppendFixed32(protowire.AppendTag(m, field, protowire.Fixed32Type), math.Float32bits(x))
}

func (m message) double(field protowire.Number, x float64) message {
	return protowire.AppendFixed64(protowire.AppendTag(m, field, protowire.Fixed64Type), math.Float64bits(x))
}

func (m message) text(field protowire.Number, s string) message {
	return protowire.AppendString(protowire.AppendTag(m, field, protowire.BytesType), s)
}

func (m message) message(field protowire.Number, inner message) message {
	return protowire.AppendBytes(protowire.AppendTag(m, field, protowire.BytesType), inner)
}

func event(at time.Time, step int) message {
	return message(nil).double(1, seconds(at)).varint(2, uint64(step))
}

func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// fileVersion begins every event file.
func fileVersion(at time.Time) message {
	return event(at, 0).text(3, "brain.Event:2").message(10, message(nil).text(1, "longform"))
}

// sessionStart makes TensorBoard forget what earlier files of the directory
// have of this step and of later ones (purge_step elsewhere).
func sessionStart(at time.Time, step int) message {
	const start = 1
	return event(at, step).message(7, message(nil).varint(1, start))
}

// scalars are values of a step.
func scalars(p point) message {
	var summary message
	for _, s := range p.scalars {
		summary = summary.message(1, message(nil).text(1, s.name).float(2, float32(s.value)))
	}
	return event(p.time, p.step).message(5, summary)
}

// markdown is a text in TensorBoard's text plugin.
func markdown(at time.Time, name, text string) message {
	const stringType = 7
	scalarShape := message(nil)
	tensor := message(nil).varint(1, stringType).message(2, scalarShape).text(8, text)
	return summary(at, name+"/text_summary", "text", nil, tensor)
}

// hyperparameters are the settings of a run in TensorBoard's hparams plugin,
// which compares runs by them.
func hyperparameters(at time.Time, settings iter.Seq2[string, any]) message {
	start := message(nil)
	for name, value := range settings {
		start = start.message(1, message(nil).text(1, name).message(2, structValue(value)))
	}
	start = start.double(5, seconds(at))
	content := message(nil).message(3, start)
	// A vector of no floats: the plugin's data is all in content.
	const floatType = 1
	tensor := message(nil).varint(1, floatType).message(2, message(nil).message(2, message(nil).varint(1, 0)))
	return summary(at, "_hparams_/session_start_info", "hparams", content, tensor)
}

// structValue is a google.protobuf.Value.
func structValue(x any) message {
	switch x := x.(type) {
	case bool:
		b := uint64(0)
		if x {
			b = 1
		}
		return message(nil).varint(4, b)
	case float64:
		return message(nil).double(2, x)
	case int:
		return message(nil).double(2, float64(x))
	}
	return message(nil).text(3, settingText(x))
}

func summary(at time.Time, tag, plugin string, content, tensor message) message {
	data := message(nil).text(1, plugin).message(2, content)
	value := message(nil).text(1, tag).message(9, message(nil).message(1, data)).message(8, tensor)
	return event(at, 0).message(5, message(nil).message(1, value))
}
