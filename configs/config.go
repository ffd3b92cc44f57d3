// Package configs turns what a person writes, a YAML recipe and key=value
// overrides, into one typed [Config], so that a mistake in a recipe is a
// sentence naming its line and not a run with a setting that was ignored.
//
// It is the only package that knows viper. The recipes beside it are part of
// the binary: [Load] takes their bare names too.
package configs

// Config is everything a training run is told. Load fills what isn't given
// from [Default], so a loaded Config has no hidden meanings left: where a field
// says that zero stands for something else, Load has already put that there.
//
// The yaml tag is the key; oneof lists the allowed values of a key, of which an
// empty first one means that the key may be left empty.
type Config struct {
	Model      Model      `yaml:"model"`      // what is trained
	Data       Data       `yaml:"data"`       // what it is trained on
	Optim      Optim      `yaml:"optim"`      // the optimizer
	Schedule   Schedule   `yaml:"schedule"`   // the learning rate over the run
	Run        Run        `yaml:"run"`        // where, how long, in what portions
	Checkpoint Checkpoint `yaml:"checkpoint"` // what is kept
	Device     Device     `yaml:"device"`     // what computes it
	Tracking   Tracking   `yaml:"tracking"`   // where else metrics are shown
	Launch     Launch     `yaml:"launch"`     // where train launch has it started
}

// Model says which model is trained and in what numbers.
type Model struct {
	// Path is a Hugging Face directory, a hub name (owner/name) or "demo", the
	// small model built into the binary. Required.
	Path string `yaml:"path"`
	// Tokenizer is a directory with tokenizer.json, a hub name or "demo". Empty
	// takes the model's own, which a random model that is known by name alone
	// doesn't have without a download.
	Tokenizer string `yaml:"tokenizer"`
	// Init is pretrained (read the weights) or random (draw them, from run.seed).
	Init string `yaml:"init" oneof:"pretrained|random"`
	// Precision is float32, mixed (float32 weights, bfloat16 compute) or bf16
	// (bfloat16 weights and moments too: half the memory). bf16 rounds weights
	// and moments up or down at random, by run.seed and step, so that updates
	// too small for bfloat16 count on average.
	Precision string `yaml:"precision" oneof:"float32|mixed|bf16"`
	// GradientCheckpointing is what the backward pass computes again instead of
	// keeping it: none, each layer from its input (layer; the least memory, about
	// a third more compute), or the scores of attention (attention), which fused
	// attention never keeps.
	GradientCheckpointing string `yaml:"gradient_checkpointing" oneof:"none|layer|attention"`
	// Dropout is a probability in [0, 1) that replaces every dropout of the
	// model's config.json; nil leaves those as they are.
	Dropout *float64 `yaml:"dropout"`
	// Quantize is nf4 to keep the projections that LoRA freezes in 4 bits, about
	// 0.56 bytes a weight (Dettmers et al., "QLoRA", 2023), or none. Embeddings,
	// norms and the output head stay as they are. It needs LoRA.
	Quantize string `yaml:"quantize" oneof:"none|nf4"`
	// LoRA trains low-rank adapters and leaves the model's weights alone.
	LoRA LoRA `yaml:"lora"`
}

// LoRA adapters add (alpha/rank)·B·A to each targeted projection (Hu et al.,
// "LoRA: Low-Rank Adaptation of Large Language Models", 2021).
type LoRA struct {
	// Enabled trains adapters; without it the whole model is trained.
	Enabled bool `yaml:"enabled"`
	// Rank is the inner dimension of A [rank, in] and B [out, rank].
	Rank int `yaml:"rank"`
	// Alpha scales the adapter by alpha/rank.
	Alpha float64 `yaml:"alpha"`
	// Dropout is the probability in [0, 1) of dropping an adapter's input.
	Dropout float64 `yaml:"dropout"`
	// Targets are the projections' Hugging Face names (q_proj, v_proj, q, v, ...);
	// empty takes the family's query and value projections, as PEFT does.
	Targets []string `yaml:"targets"`
}

// Data says which records are read and how they become batches.
type Data struct {
	// Train are files (.json, .jsonl, .parquet), hub names (owner/name or
	// owner/name:split) or "demo:train". One may be written without a list.
	// Required.
	Train []string `yaml:"train"`
	// Validation is written as Train is; empty means that nothing is evaluated.
	Validation []string `yaml:"validation"`
	// EOI marks where the instruction ends: [EOI] as text, as a token added to
	// the tokenizer, or none. Empty takes the family's way.
	EOI string `yaml:"eoi" oneof:"|text|token|none"`
	// Loss counts the tokens of the whole text (all) or of the output. An
	// encoder-decoder model only ever predicts the output.
	Loss string `yaml:"loss" oneof:"all|output"`
	// MaxLength cuts longer inputs, in tokens. It is also the block length of
	// packing.
	MaxLength int `yaml:"max_length"`
	// MaxTargetLength cuts an encoder-decoder model's targets, in tokens; 0
	// stands for MaxLength.
	MaxTargetLength int `yaml:"max_target_length"`
	// Packing joins records into blocks of MaxLength tokens; barrier also keeps
	// attention from crossing from one record to the next.
	Packing string `yaml:"packing" oneof:"none|blocks|barrier"`
	// Order is shuffled (by run.seed and epoch) or file.
	Order string `yaml:"order" oneof:"shuffled|file"`
	// Buckets are the lengths, in tokens and rising, that batches are padded to;
	// each is compiled once. Empty chooses them from the data.
	Buckets []int `yaml:"buckets"`
}

// Optim is the optimizer and its constants.
type Optim struct {
	// Kind is adamw, adamw8bit (AdamW with moments of 8 bits, in blocks of 256
	// with a scale each; weights of less than 4096 elements keep float32),
	// adafactor or sgd.
	Kind string `yaml:"kind" oneof:"adamw|adamw8bit|adafactor|sgd"`
	// LR is the peak learning rate, which the schedule scales.
	LR float64 `yaml:"lr"`
	// Beta1 is AdamW's decay of the mean of gradients, in [0, 1).
	Beta1 float64 `yaml:"beta1"`
	// Beta2 is AdamW's decay of the mean of squared gradients, in [0, 1).
	Beta2 float64 `yaml:"beta2"`
	// Eps is what AdamW adds to the root of the mean square.
	Eps float64 `yaml:"eps"`
	// WeightDecay, times the learning rate, is the fraction that matrices shrink
	// by in each step; vectors don't.
	WeightDecay float64 `yaml:"weight_decay"`
	// ClipNorm is the largest global gradient norm; 0 doesn't clip. Clipping
	// needs all gradients before the first weight changes. With 0 a GPU changes
	// each matrix as soon as its gradient is there, which saves the memory of
	// the others; but if the loss is finite and a gradient isn't, only its own
	// matrix and the vectors are left as they were, so that run.on_nonfinite:
	// stop can't save the state before.
	ClipNorm float64 `yaml:"clip_norm"`
	// Gradients is what gradients are summed in over micro-batches: float32, or
	// bfloat16, which takes half the memory and rounds each sum to 8 bits.
	Gradients string `yaml:"gradients" oneof:"float32|bfloat16"`
	// RelativeStep lets Adafactor choose its step from the step number; LR and
	// the schedule are then unused.
	RelativeStep bool `yaml:"relative_step"`
}

// Schedule is the learning rate's course, as a fraction of optim.lr.
type Schedule struct {
	// Kind is what follows the warm-up: constant, linear or cosine (to
	// FinalRatio at the last step), or inverse_sqrt (falling with the root of
	// the step number).
	Kind string `yaml:"kind" oneof:"constant|linear|cosine|inverse_sqrt"`
	// WarmupSteps is how many optimizer steps the rate rises for, from zero.
	WarmupSteps int `yaml:"warmup_steps"`
	// FinalRatio is the lowest rate as a fraction of the peak, in [0, 1].
	FinalRatio float64 `yaml:"final_ratio"`
}

// Run says where the run is kept, how long it is, and in what portions it goes.
type Run struct {
	// Dir is the run's own directory, made when the run starts. Required.
	Dir string `yaml:"dir"`
	// Seed determines order, dropout and random weights.
	Seed uint64 `yaml:"seed"`
	// Steps is the run's length in optimizer steps. One of Steps and Epochs is
	// required; the other is 0. One given on the command line replaces the
	// recipe's other.
	Steps int `yaml:"steps"`
	// Epochs is the run's length in passes over the training data.
	Epochs int `yaml:"epochs"`
	// BatchSize is the rows (records, or blocks when packing) of one optimizer
	// step.
	BatchSize int `yaml:"batch_size"`
	// MicroBatchSize is the rows computed at once; gradients are summed until
	// BatchSize is reached, which it divides. 0 stands for BatchSize.
	MicroBatchSize int `yaml:"micro_batch_size"`
	// LogEvery is how many steps lie between two lines of the metrics log.
	LogEvery int `yaml:"log_every"`
	// EvalEvery is how many steps lie between two evaluations on the validation
	// set; 0 means never.
	EvalEvery int `yaml:"eval_every"`
	// OnNonfinite stops the run at a NaN or infinite loss, or skips the batch.
	OnNonfinite string `yaml:"on_nonfinite" oneof:"stop|skip"`
}

// Checkpoint says when the run is saved and what is kept.
type Checkpoint struct {
	// Every is how many steps lie between two checkpoints: what a run that is killed
	// loses. 0 saves only at the end, and when the run is told to stop.
	Every int `yaml:"every"`
	// Keep is how many of the newest checkpoints stay on disk.
	Keep int `yaml:"keep"`
	// Best also keeps the checkpoint with the lowest validation loss. It is on
	// when there is a validation set, unless the recipe says otherwise.
	Best bool `yaml:"best"`
	// Async writes a checkpoint while training goes on.
	Async bool `yaml:"async"`
}

// Device says what computes the run.
type Device struct {
	// Backend is auto (the first that works of the following), cuda, cpu (XLA)
	// or go (nothing to install).
	Backend string `yaml:"backend" oneof:"auto|cuda|cpu|go"`
}

// Tracking says where metrics go besides the run's metrics.jsonl.
type Tracking struct {
	// TensorBoard writes event files to tensorboard/ in the run's directory.
	TensorBoard bool `yaml:"tensorboard"`
	// MLflow is the address of an MLflow tracking server, such as
	// http://localhost:5000; empty sends nothing. MLFLOW_TRACKING_USERNAME and
	// MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, are sent along, as
	// MLflow's own client does. A server that is down holds nothing up.
	MLflow string `yaml:"mlflow"`
	// WandB writes an offline run of Weights & Biases to wandb/ in the run's
	// directory; wandb sync DIR/wandb/offline-run-* uploads it.
	WandB bool `yaml:"wandb"`
	// Experiment is the MLflow experiment that the run belongs to, made when
	// there is none of that name, and the Weights & Biases project.
	Experiment string `yaml:"experiment"`
}

// Launch says where train launch has a run started, and with what; in a sweep,
// the workers that do its runs. A run that is started otherwise makes nothing of
// it, and a sweep's own processes on this host, which take its GPUs in turn, make
// nothing of it but On and Env.
type Launch struct {
	// On is what starts the run: this host, another over ssh, or a scheduler.
	On string `yaml:"on" oneof:"local|ssh|slurm|ray|kubernetes"`
	// GPUs is 1 for a run on a GPU, of which it uses one, and 0 without.
	GPUs int `yaml:"gpus"`
	// CPUs is how many the run gets; 0 leaves it to the scheduler. Without a
	// scheduler, nothing keeps a run to CPUs, Memory or Time, and they are refused.
	CPUs int `yaml:"cpus"`
	// Memory is the host memory that the run gets, such as 64G; empty leaves it
	// to the scheduler.
	Memory string `yaml:"memory"`
	// Time is how long the run may hold its place, such as 24h or 1h30m; empty
	// leaves it to the scheduler. A run that isn't done by then is saved and
	// queued again by Slurm, and ended by Kubernetes; Ray has no limits.
	Time string `yaml:"time"`
	// Notice is how long before it has to go a run is told, to save.
	Notice string `yaml:"notice"`
	// Partition is Slurm's; empty takes the cluster's default.
	Partition string `yaml:"partition"`
	// Account is who Slurm counts the run's time for; empty takes the user's.
	Account string `yaml:"account"`
	// QOS is Slurm's quality of service; empty takes the account's.
	QOS string `yaml:"qos"`
	// Hosts are where ssh starts the run: it takes the first. A sweep's workers
	// go to all of them.
	Hosts []string `yaml:"hosts"`
	// Address is that of Ray's dashboard.
	Address string `yaml:"address"`
	// Image is the container image for Kubernetes, with train on its PATH.
	Image string `yaml:"image"`
	// Volume is CLAIM:PATH, a PersistentVolumeClaim of Kubernetes and where the
	// container has it: under the path that it has here, with run.dir below.
	Volume string `yaml:"volume"`
	// Namespace is Kubernetes'; empty takes the one that kubectl works in.
	Namespace string `yaml:"namespace"`
	// Env are environment variables as NAME=value.
	Env []string `yaml:"env"`
}

// Default is what a key has that isn't given. Only here are defaults written.
func Default() Config {
	return Config{
		Model: Model{
			Init:                  "pretrained",
			Precision:             "mixed",
			GradientCheckpointing: "none",
			Quantize:              "none",
			LoRA:                  LoRA{Rank: 8, Alpha: 16},
		},
		Data: Data{
			Loss:      "all",
			MaxLength: 1024,
			Packing:   "none",
			Order:     "shuffled",
		},
		Optim: Optim{
			Kind: "adamw",
			// Small enough to leave a pretrained model of any of the sizes whole.
			LR:          1e-5,
			Beta1:       0.9,
			Beta2:       0.999,
			Eps:         1e-8,
			WeightDecay: 0.01,
			ClipNorm:    1,
			Gradients:   "float32",
		},
		Schedule:   Schedule{Kind: "constant"},
		Run:        Run{Seed: 42, BatchSize: 8, LogEvery: 10, OnNonfinite: "stop"},
		Checkpoint: Checkpoint{Every: 500, Keep: 2, Async: true},
		Device:     Device{Backend: "auto"},
		Tracking:   Tracking{Experiment: "longform"},
		Launch:     Launch{On: "local", Notice: "2m", Address: "http://localhost:8265"},
	}
}
