// Command gobwas drives github.com/gobwas/ws with its package wsutil.
package main

import (
	"context"
	"errors"
	"io"
	"net"

	"chatnode/drivers/lines"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func main() {
	lines.Drive(func(url string) (lines.Socket, error) {
		conn, buffered, _, err := ws.Dial(context.Background(), url)
		if err != nil {
			return lines.Socket{}, err
		}
		// What arrived together with the answer to the upgrade.
		var stream io.ReadWriter = conn
		if buffered != nil && !lines.Unadvised {
			stream = struct {
				io.Reader
				io.Writer
			}{io.MultiReader(buffered, conn), conn}
		}
		read := func() { tellAll(stream, conn) }
		send := func(text string) error { return wsutil.WriteClientText(conn, []byte(text)) }
		return lines.Socket{Send: send, Close: conn.Close, Read: read}, nil
	})
}

func tellAll(stream io.ReadWriter, conn net.Conn) {
	defer conn.Close()
	for {
		text, err := wsutil.ReadServerText(stream)
		var end wsutil.ClosedError
		if errors.As(err, &end) {
			lines.Closed(int(end.Code), end.Reason)
			return
		} else if err != nil {
			lines.Closed(0, err.Error())
			return
		}
		lines.Text(string(text))
	}
}
