// A fast stand-in for AWS, for benchmarks: one stream of one table, a lease table, queues that count. What it is asked
// and what it costs itself it says at /control/stats. Prints {"url": "...", "stream": "..."} once it listens; ends at SIGTERM.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
)

func main() {
	var load workload
	port := flag.Int("port", 0, "0: any free one")
	queues := flag.String("queues", "analysis-jobs", "names, with commas between them")
	dynamoDB := flag.String("dynamodb", "", "URL of a DynamoDB that keeps the lease tables, none: kept here")
	flag.IntVar(&load.shards, "shards", 4, "open shards of the stream")
	flag.Int64Var(&load.records, "records", 0, "of each shard, there from the beginning")
	flag.Float64Var(&load.rate, "rate", 0, "records per second of each shard, from /control/begin to /control/end")
	flag.Int64Var(&load.matchEvery, "match-every", 100, "every so manieth record matches, 0: none")
	flag.Int64Var(&load.items, "items", 0, "so many items take turns, 0: every record is of another item")
	flag.IntVar(&load.imageBytes, "image-bytes", 600, "of a new image")
	driven := flag.String("drive", "", "URL of another stand-in, to be its tightest client and no server")
	stream := flag.String("stream", "", "the ARN of its stream")
	pause := flag.Duration("pause", 0, "what the client waits after a page that was not full")
	flag.Parse()
	if *driven != "" {
		drive(*driven, *stream, *queues, *pause)
		return
	}

	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	world := newWorld(url, load, strings.Split(*queues, ","), *dynamoDB)
	fmt.Fprintf(os.Stdout, "{\"url\": %q, \"stream\": %q}\n", url, world.arn)
	log.Fatal(serve(listener, world))
}
