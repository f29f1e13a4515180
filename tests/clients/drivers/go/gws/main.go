// Command gws drives github.com/lxzan/gws.
package main

import (
	"errors"

	"chatnode/drivers/lines"

	"github.com/lxzan/gws"
)

type handler struct{ gws.BuiltinEventHandler }

func (handler) OnMessage(_ *gws.Conn, message *gws.Message) {
	defer message.Close()
	lines.Text(message.Data.String())
}

// The handler of the library would answer without the payload.
func (h handler) OnPing(conn *gws.Conn, payload []byte) {
	if lines.Unadvised {
		h.BuiltinEventHandler.OnPing(conn, payload)
		return
	}
	_ = conn.WritePong(payload)
}

func (handler) OnClose(_ *gws.Conn, err error) {
	var end *gws.CloseError
	if errors.As(err, &end) {
		lines.Closed(int(end.Code), string(end.Reason))
		return
	}
	lines.Closed(0, err.Error())
}

func main() {
	lines.Drive(func(url string) (lines.Socket, error) {
		conn, _, err := gws.NewClient(handler{}, &gws.ClientOption{Addr: url})
		if err != nil {
			return lines.Socket{}, err
		}
		stop := func() error { conn.WriteClose(1000, nil); return nil }
		return lines.Socket{Send: conn.WriteString, Close: stop, Read: conn.ReadLoop}, nil
	})
}
