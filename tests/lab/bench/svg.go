package bench

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// The picture's measures, in pixels.
const (
	svgWidth  = 960
	svgLeft   = 190 // where the bars begin
	svgRight  = 60  // room for the number at a bar's end
	barHeight = 14
	lineStep  = 32 // from one side to the next: the bar and the words below it
	svgHead   = 74 // title and legend
)

// color is that of the time until a stage.
func color(s Stage) string {
	switch s {
	case Noticed:
		return "#d9534f"
	case Membership:
		return "#e08e45"
	case Fencing:
		return "#8e5ea2"
	case Demote:
		return "#b7a23c"
	case Promote:
		return "#3f7fbf"
	case Address:
		return "#3aa3a0"
	case FirstCommit:
		return "#5aa55a"
	}
	return "#9a9a9a"
}

// WriteSVG draws the timelines of the middle runs: for each fault a bar for each
// side, cut where a stage was reached. Each fault has a scale of its own, since
// next to minutes a second is not seen.
func (r Report) WriteSVG(w io.Writer) error {
	var b bytes.Buffer
	y := svgHead
	for _, x := range r.Rows {
		y = r.drawRow(&b, x, y)
	}
	height := y + 10
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="11">`+"\n",
		svgWidth, height, svgWidth, height)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", svgWidth, height)
	label(&out, 10, 22, `font-size="16" font-weight="bold"`, "From the fault to the first commit")
	c := r.Conditions
	label(&out, 10, 40, `fill="#555555"`, fmt.Sprintf("the median of %s runs, in seconds; each fault has its own scale; %s, token %s ms, %d processors",
		r.made(), c.Disk, c.Token, c.Processors))
	drawLegend(&out)
	out.Write(b.Bytes())
	out.WriteString("</svg>\n")
	_, err := w.Write(out.Bytes())
	return err
}

func drawLegend(b *bytes.Buffer) {
	x := 10
	for _, s := range Stages() {
		fmt.Fprintf(b, `<rect x="%d" y="50" width="11" height="11" fill="%s"/>`+"\n", x, color(s))
		label(b, x+15, 60, "", string(s))
		x += 34 + 6*len(s)
	}
}

// drawRow draws a fault at a height and returns the next one. A fault that no side
// has a timeline of is left out.
func (r Report) drawRow(b *bytes.Buffer, x Row, y int) int {
	type bar struct {
		side string
		run  Run
	}
	var bars []bar
	longest := time.Duration(0)
	for _, s := range r.Sides {
		run, ok := x.Sides[s.Name].Middle()
		if !ok && len(x.Sides[s.Name]) > 0 {
			bars = append(bars, bar{s.Name, Run{AtLeast: x.Sides[s.Name].shortestVain()}})
		}
		if ok && len(run.Marks) > 0 {
			bars = append(bars, bar{s.Name, run})
			longest = max(longest, run.Marks[len(run.Marks)-1].After)
		}
	}
	if longest == 0 {
		return y
	}
	label(b, 10, y+12, `font-weight="bold"`, x.Fault)
	scale := float64(svgWidth-svgLeft-svgRight) / longest.Seconds()
	top := y + 18
	y = top
	for _, bar := range bars {
		label(b, 20, y+barHeight-3, "", bar.side)
		if len(bar.run.Marks) == 0 {
			label(b, svgLeft, y+barHeight-3, `fill="#777777"`, vain(bar.run))
		}
		drawBar(b, bar.run.Marks, y, scale)
		y += lineStep
	}
	drawTicks(b, top-4, y-lineStep+barHeight, longest, scale)
	return y + 8
}

func vain(r Run) string {
	if r.AtLeast == 0 {
		return "no run with a time"
	}
	return "none within " + seconds1(r.AtLeast) + " s"
}

func drawBar(b *bytes.Buffer, marks []Mark, y int, scale float64) {
	from := time.Duration(0)
	var words []string
	for _, m := range marks {
		fmt.Fprintf(b, `<rect x="%s" y="%d" width="%s" height="%d" fill="%s"/>`+"\n",
			pixels(svgLeft+from.Seconds()*scale), y, pixels((m.After-from).Seconds()*scale), barHeight, color(m.Stage))
		words = append(words, fmt.Sprintf("%s %.2f", m.Stage, m.After.Seconds()))
		from = m.After
	}
	if len(words) == 0 {
		return
	}
	label(b, svgLeft+int(from.Seconds()*scale)+4, y+barHeight-3, `font-weight="bold"`, strconv.FormatFloat(from.Seconds(), 'f', 2, 64))
	label(b, svgLeft, y+barHeight+10, `font-size="9" fill="#555555"`, strings.Join(words, " · "))
}

// drawTicks draws thin lines at round seconds.
func drawTicks(b *bytes.Buffer, top, bottom int, longest time.Duration, scale float64) {
	step := math.Pow(10, math.Floor(math.Log10(longest.Seconds())))
	if longest.Seconds()/step < 3 {
		step /= 2
	}
	for t := step; t <= longest.Seconds(); t += step {
		x := pixels(svgLeft + t*scale)
		fmt.Fprintf(b, `<line x1="%s" y1="%d" x2="%s" y2="%d" stroke="#00000022"/>`+"\n", x, top, x, bottom)
		fmt.Fprintf(b, `<text x="%s" y="%d" font-size="8" fill="#999999" text-anchor="middle">%s</text>`+"\n", x, top-1, strconv.FormatFloat(t, 'g', 3, 64))
	}
}

func label(b *bytes.Buffer, x, y int, style, text string) {
	if style != "" {
		style = " " + style
	}
	fmt.Fprintf(b, `<text x="%d" y="%d"%s>`, x, y, style)
	_ = xml.EscapeText(b, []byte(text)) // a buffer takes everything
	b.WriteString("</text>\n")
}

func pixels(x float64) string { return strconv.FormatFloat(x, 'f', 1, 64) }

func seconds1(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 0, 64) }
