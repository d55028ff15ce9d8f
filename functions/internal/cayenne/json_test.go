package cayenne

// appendJSON appends readings as one JSON object, in their order.
func appendJSON(dst []byte, rs []Reading) []byte {
	w := jsonWriter{dst: append(dst, '{'), closers: append(make([]byte, 0, 4), '}')}
	for _, r := range rs {
		r.Visit(&w)
	}
	w.End()
	return w.dst
}

// jsonWriter is a Visitor that writes JSON.
type jsonWriter struct {
	dst     []byte
	closers []byte // what ends the objects and lists that are open
}

// member begins a member or an item. What is written before it ends in '{' or
// '[' if it is the first. Keys and strings need no escapes.
func (w *jsonWriter) member(key string) {
	if last := w.dst[len(w.dst)-1]; last != '{' && last != '[' {
		w.dst = append(w.dst, ',')
	}
	if key != "" {
		w.quoted(key)
		w.dst = append(w.dst, ':')
	}
}

func (w *jsonWriter) quoted(s string) {
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, s...)
	w.dst = append(w.dst, '"')
}

func (w *jsonWriter) begin(key string, opener, closer byte) {
	w.member(key)
	w.dst = append(w.dst, opener)
	w.closers = append(w.closers, closer)
}

func (w *jsonWriter) Number(key string, n Number) {
	w.member(key)
	w.dst = n.AppendJSON(w.dst)
}

func (w *jsonWriter) Bool(key string, b bool) {
	w.member(key)
	if b {
		w.dst = append(w.dst, "true"...)
		return
	}
	w.dst = append(w.dst, "false"...)
}

func (w *jsonWriter) String(key, s string) {
	w.member(key)
	w.quoted(s)
}

func (w *jsonWriter) Object(key string, _ int) { w.begin(key, '{', '}') }
func (w *jsonWriter) List(key string, _ int)   { w.begin(key, '[', ']') }

func (w *jsonWriter) End() {
	last := len(w.closers) - 1
	w.dst = append(w.dst, w.closers[last])
	w.closers = w.closers[:last]
}
