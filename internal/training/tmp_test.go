package training
import ("testing";"strings";"github.com/longform-go/longform/internal/device";"github.com/longform-go/longform/internal/device/devicetest")
func TestTmp(t *testing.T){
	d := devicetest.Open(t, device.CPU)
	for _, f := range families {
		for _, over := range []string{
			"run.batch_size=4 run.micro_batch_size=2 model.precision=mixed",
			"run.batch_size=4 run.micro_batch_size=2 model.precision=bf16",
			"run.batch_size=4 run.micro_batch_size=2 model.lora.enabled=true model.precision=mixed",
			"run.batch_size=4 run.micro_batch_size=2 model.lora.enabled=true model.precision=bf16 model.lora.dropout=0.1",
			"run.batch_size=4 model.lora.enabled=true model.precision=mixed model.gradient_checkpointing=true model.dropout=0.1",
			"run.batch_size=4 model.precision=mixed model.gradient_checkpointing=true model.dropout=0.1",
			"run.batch_size=4 model.precision=bf16 optim.kind=adafactor",
			"run.batch_size=4 model.precision=bf16 optim.kind=sgd",
			"run.batch_size=4 model.precision=float32 optim.kind=sgd",
			"run.batch_size=4 model.precision=float32 optim.kind=adafactor",
			"run.batch_size=8 data.max_length=128",
			"run.batch_size=8 data.max_length=128 model.gradient_checkpointing=true",
			} {
		c := config(t, f, append([]string{"data.max_length=16"}, strings.Fields(over)...)...)
		p, err := NewPlan(c, d)
		t.Logf("%s %s: err %v state %d alias %d copies %d temp %d", f, over, err, p.StateBytes, p.AliasBytes, p.Copies, p.TemporaryBytes)
		}
	}
}
