package tracking

import (
	"encoding/binary"
	"hash/crc32"
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
)

// A .wandb file is a log as LevelDB's (doc/log_format.md there) after a header
// of seven bytes: blocks of 32 KiB, counted from the beginning of the file, that
// hold records in one or more chunks of checksum, length, type and data. Unlike
// LevelDB's the checksum is a plain CRC-32 (IEEE).
const (
	blockSize   = 32 << 10
	chunkHeader = 7

	chunkFull, chunkFirst, chunkMiddle, chunkLast = 1, 2, 3, 4
)

func chunkSum(kind byte, data []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE([]byte{kind}), crc32.IEEETable, data)
}

// frame is a record as it is written at an offset.
func frame(offset int64, data []byte) []byte {
	var out []byte
	for first := true; first || len(data) > 0; first = false {
		left := blockSize - int(offset+int64(len(out)))%blockSize
		if left < chunkHeader {
			out = append(out, make([]byte, left)...)
			left = blockSize
		}
		part := data[:min(len(data), left-chunkHeader)]
		data = data[len(part):]
		kind := byte(chunkMiddle)
		switch {
		case first && len(data) == 0:
			kind = chunkFull
		case first:
			kind = chunkFirst
		case len(data) == 0:
			kind = chunkLast
		}
		out = binary.LittleEndian.AppendUint32(out, chunkSum(kind, part))
		out = binary.LittleEndian.AppendUint16(out, uint16(len(part)))
		out = append(append(out, kind), part...)
	}
	return out
}

// wandbRecord is a message in a file.
type wandbRecord struct {
	number  int
	content []byte
	end     int64 // offset of what follows
}

// wandbRecords yields the records of a file by the field that each is, up to
// its end or the first one that isn't whole.
func wandbRecords(file []byte) iter.Seq2[protowire.Number, wandbRecord] {
	return func(yield func(protowire.Number, wandbRecord) bool) {
		var data []byte
		for at := len(wandbHeader); ; {
			if left := blockSize - at%blockSize; left < chunkHeader {
				at += left
			}
			if at+chunkHeader > len(file) {
				return
			}
			sum, size, kind := binary.LittleEndian.Uint32(file[at:]), int(binary.LittleEndian.Uint16(file[at+4:])), file[at+6]
			at += chunkHeader
			if at+size > len(file) || chunkSum(kind, file[at:at+size]) != sum {
				return
			}
			if kind == chunkFull || kind == chunkFirst {
				data = nil
			}
			data = append(data, file[at:at+size]...)
			at += size
			if kind != chunkFull && kind != chunkLast {
				continue
			}
			r, field := wandbRecord{end: int64(at)}, protowire.Number(0)
			eachField(data, func(f protowire.Number, content []byte) {
				if f == 1 {
					n, _ := protowire.ConsumeVarint(content)
					r.number = int(n)
				} else {
					field, r.content = f, content
				}
			})
			if !yield(field, r) {
				return
			}
		}
	}
}

// eachField calls f with each field of a message: what a field of bytes holds,
// and others as they are encoded.
func eachField(m []byte, f func(field protowire.Number, content []byte)) {
	for len(m) > 0 {
		field, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			return
		}
		m = m[n:]
		if n = protowire.ConsumeFieldValue(field, kind, m); n < 0 {
			return
		}
		content := m[:n]
		if kind == protowire.BytesType {
			content, _ = protowire.ConsumeBytes(m)
		}
		f(field, content)
		m = m[n:]
	}
}
