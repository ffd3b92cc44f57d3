package rundir

import (
	"math"
	"testing"
	"time"
)

func TestFormat(t *testing.T) {
	tests := []struct{ got, want string }{
		{Commas(0), "0"},
		{Commas(999), "999"},
		{Commas(1000), "1,000"},
		{Commas(12345), "12,345"},
		{Commas(-123456), "-123,456"},
		{Commas(-1234567), "-1,234,567"},
		{Commas(math.MaxInt64), "9,223,372,036,854,775,807"},
		{Short(0), "0"},
		{Short(950), "950"},
		{Short(999), "999"},
		{Short(1000), "1.0K"},
		{Short(12345), "12.3K"},
		{Short(99_949), "99.9K"},
		{Short(99_951), "100K"},
		{Short(999_499), "999K"},
		{Short(999_500), "1.0M"},
		{Short(1_234_567), "1.2M"},
		{Short(6_738_415_616), "6.7B"},
		{Bytes(12), "12 B"},
		{Bytes(1_500_000_000), "1.5 GB"},
		{Bytes(88_304_640), "88.3 MB"},
		{Bytes(727_000_000), "727 MB"},
		{Duration(-time.Second), "0.0s"},
		{Duration(420 * time.Millisecond), "0.4s"},
		{Duration(9940 * time.Millisecond), "9.9s"},
		{Duration(9960 * time.Millisecond), "10s"},
		{Duration(59_400 * time.Millisecond), "59s"},
		{Duration(59_600 * time.Millisecond), "1m00s"},
		{Duration(200 * time.Second), "3m20s"},
		{Duration(3599 * time.Second), "59m59s"},
		{Duration(3600 * time.Second), "1h00m"},
		{Duration(2*time.Hour + 5*time.Minute + 31*time.Second), "2h06m"},
		{Duration(24*time.Hour - time.Second), "1d00h"},
		{Duration(76*time.Hour + 29*time.Minute), "3d04h"},
		{decimal(2.3456, 3), "2.346"},
		{decimal(0, 3), "0.000"},
		{decimal(0.01234, 3), "0.0123"},
		{decimal(0.0001234, 3), "1.23e-04"},
		{decimal(-123456, 2), "-1.2e+05"},
		{decimal(math.NaN(), 3), "NaN"},
		{decimal(math.Inf(1), 2), "+Inf"},
	}
	for _, test := range tests {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}
