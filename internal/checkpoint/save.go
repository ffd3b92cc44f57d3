// Package checkpoint keeps a run's state safe on disk: what was committed stays
// whole through a crash, a full disk or a damaged file, and every checkpoint is
// a directory that Hugging Face's from_pretrained opens. It also reads the
// weights of any such directory.
//
// A run holds its checkpoints like this:
//
//	lock                        taken by the process that writes
//	checkpoints/step-000100/    one committed checkpoint
//	checkpoints/latest          text: the name of the last committed one
//	checkpoints/best            the same for another mark
//
// One process writes to a run, the one that holds its Lock. Reading needs no lock.
package checkpoint

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/longform-go/longform/internal/durable"
	"github.com/longform-go/longform/internal/safetensors"
)

// StateFile holds what training needs beside the weights. A checkpoint without
// such state hasn't got it.
const StateFile = "training_state.safetensors"

// Snapshot is what one checkpoint holds.
type Snapshot struct {
	Step int
	// Files are the small ones, by name: config.json, tokenizer.json, ...
	Files map[string][]byte
	// WeightsName is model.safetensors or adapter_model.safetensors.
	WeightsName string
	Weights     []safetensors.Tensor
	// State goes into StateFile. Its names mustn't be those of Weights.
	State []safetensors.Tensor
	// ShardBytes is the size above which a model's weights are cut into
	// shards; 0 means 5 GB. Adapters are never cut, since PEFT doesn't read
	// their shards.
	ShardBytes int64
	// Progress is opaque here; the manifest carries it.
	Progress json.RawMessage
}

// writer keeps one call from tidying away what another is writing.
var writer sync.Mutex

// hook is called before each step of a commit. Tests stop the process there.
var hook = func(step string) {}

// Save commits a checkpoint and returns its directory. All is written to a
// temporary directory beside it and forced to disk before a rename makes it a
// checkpoint; then latest is set. A crash at any point leaves the checkpoints
// that were there, and an error leaves nothing half-written. A checkpoint of
// the same step is replaced.
//
// Where there is too little space, the error wraps syscall.ENOSPC and tells
// the bytes that are needed and free.
func Save(runDir string, s Snapshot) (dir string, err error) {
	writer.Lock()
	defer writer.Unlock()
	root := filepath.Join(runDir, checkpoints)
	name := stepName(s.Step)
	err = makeRoot(runDir, root)
	if err == nil {
		err = tidy(root)
	}
	if err == nil {
		err = commit(root, name, s)
	}
	if err != nil {
		return "", fmt.Errorf("save checkpoint %s: %w", name, explain(err, root, s.bytes()))
	}
	dir = filepath.Join(root, name)
	if err := setPointer(root, latest, name); err != nil {
		return dir, fmt.Errorf("checkpoint %s is saved, but not named as latest: %w", name, explain(err, root, block))
	}
	return dir, nil
}

// Export commits a snapshot as the directory dir, outside of any run: the same
// files by the same protocol. It refuses a dir that exists, unless it is empty.
func Export(dir string, s Snapshot) error {
	dir = filepath.Clean(dir)
	parent, name := filepath.Dir(dir), filepath.Base(dir)
	there, err := os.ReadDir(dir)
	if len(there) > 0 {
		return fmt.Errorf("export to %s: the directory isn't empty; choose another one", dir)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(parent, 0o777)
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(parent, temporary+name)) // of an interrupted export
	}
	if err == nil {
		err = commit(parent, name, s)
	}
	if err != nil {
		return fmt.Errorf("export to %s: %w", dir, explain(err, parent, s.bytes()))
	}
	return nil
}

// makeRoot makes the checkpoints directory, durably.
func makeRoot(runDir, root string) error {
	if err := os.MkdirAll(root, 0o777); err != nil {
		return err
	}
	return durable.SyncDir(runDir)
}

// commit stages s and renames it to parent/name.
func commit(parent, name string, s Snapshot) error {
	if err := s.check(); err != nil {
		return err
	}
	if err := enoughSpace(parent, s.bytes()); err != nil {
		return err
	}
	final, old := filepath.Join(parent, name), filepath.Join(parent, name+replaced)
	temp := filepath.Join(parent, temporary+name)
	hook("make the directory")
	if err := os.Mkdir(temp, 0o777); err != nil {
		return err
	}
	defer os.RemoveAll(temp) // on an error or a panic; it is gone after the rename
	if err := s.stage(temp); err != nil {
		return err
	}
	hook("sync the directory")
	if err := durable.SyncDir(temp); err != nil {
		return err
	}
	// A directory can't be renamed onto another that isn't empty. Readers
	// take the old one for the checkpoint until the new one is in its place.
	if exists(final) {
		hook("set the old one aside")
		if err := os.Rename(final, old); err != nil {
			return err
		}
	}
	hook("rename")
	if err := os.Rename(temp, final); err != nil {
		return cmp.Or(err, restore(final, old))
	}
	hook("sync the parent")
	if err := durable.SyncDir(parent); err != nil {
		return err
	}
	hook("remove the old one")
	return os.RemoveAll(old)
}

// restore puts back a checkpoint that was set aside, if there is one.
func restore(final, old string) error {
	if !exists(old) {
		return nil
	}
	return os.Rename(old, final)
}

// stage writes the files of s into dir, the manifest last.
func (s Snapshot) stage(dir string) error {
	m := Manifest{
		Version: manifestVersion, Step: s.Step, Progress: s.Progress,
		Tensors: map[string]Entry{}, Files: map[string]FileEntry{},
	}
	for _, name := range sortedKeys(s.Files) {
		if err := m.writeFile(dir, name, s.Files[name]); err != nil {
			return err
		}
	}
	shards := cutShards(s.WeightsName, s.Weights, s.shardBytes())
	for _, shard := range shards {
		if err := m.writeTensors(dir, shard.file, shard.tensors); err != nil {
			return err
		}
	}
	if len(shards) > 1 {
		if err := m.writeFile(dir, s.WeightsName+indexSuffix, shardIndex(shards)); err != nil {
			return err
		}
	}
	if len(s.State) > 0 {
		if err := m.writeTensors(dir, StateFile, s.State); err != nil {
			return err
		}
	}
	manifest, err := m.encode()
	if err != nil {
		return err
	}
	hook("write " + manifestFile)
	return writeFile(filepath.Join(dir, manifestFile), manifest)
}

// check finds what would make a directory that can't be read back.
func (s Snapshot) check() error {
	if s.Step < 0 {
		return fmt.Errorf("negative step %d", s.Step)
	}
	if len(s.Progress) > 0 && !json.Valid(s.Progress) {
		return errors.New("progress isn't JSON")
	}
	if s.WeightsName != ModelFile && s.WeightsName != AdapterFile {
		return fmt.Errorf("weights file %q: use %s or %s", s.WeightsName, ModelFile, AdapterFile)
	}
	for name := range s.Files {
		switch {
		case name != filepath.Base(name) || !filepath.IsLocal(name):
			return fmt.Errorf("file name %q: use a plain name", name)
		case name == manifestFile || filepath.Ext(name) == ".safetensors" || name == ModelFile+indexSuffix:
			return fmt.Errorf("file name %q is reserved for what is written here", name)
		}
	}
	names := map[string]bool{}
	for _, t := range s.Weights {
		names[t.Name] = true
	}
	for _, t := range s.State {
		if names[t.Name] {
			return fmt.Errorf("tensor name %q occurs in the weights and in the training state", t.Name)
		}
	}
	return nil
}

// bytes estimates the disk space that s takes, headers and manifest included.
func (s Snapshot) bytes() int64 {
	const perTensor = 512
	var n int64
	for _, tensors := range [][]safetensors.Tensor{s.Weights, s.State} {
		n += block
		for _, t := range tensors {
			n += t.Bytes() + perTensor
		}
	}
	for _, content := range s.Files {
		n += int64(len(content)) + block
	}
	return n + int64(len(s.Progress))
}

func (s Snapshot) shardBytes() int64 {
	switch {
	case s.WeightsName == AdapterFile:
		return 1<<63 - 1
	case s.ShardBytes > 0:
		return s.ShardBytes
	}
	return 5_000_000_000
}
