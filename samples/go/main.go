// Searches, recommends, and reports a click: what a shop's back end does for one page.
//
//	go run . "hiking backpack"
//
// KAIROS_TARGET (127.0.0.1:50050) is the gateway. KAIROS_API_KEY is the key, KAIROS_TLS=1 turns TLS on.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log"
	"math"
	mathrand "math/rand"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	commonv1 "kairos.example/common/v1"
	gatewayv1 "kairos.example/gateway/v1"
)

func main() {
	transport := insecure.NewCredentials()
	if os.Getenv("KAIROS_TLS") == "1" {
		transport = credentials.NewTLS(nil)
	}
	connection, err := grpc.NewClient(env("KAIROS_TARGET", "127.0.0.1:50050"), grpc.WithTransportCredentials(transport))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	kairos := gatewayv1.NewGatewayServiceClient(connection)
	query := "hiking backpack"
	if len(os.Args) > 1 {
		query = os.Args[1]
	}
	session := randomID()

	var found *gatewayv1.SearchResponse
	// The deadline is the latency budget: the answer comes within it.
	err = within(500*time.Millisecond, func(ctx context.Context) error {
		request := &gatewayv1.SearchRequest{
			Query: query, UserId: "ana", SessionId: session, PageSize: 5,
			Filter: &commonv1.ProductFilter{InStockOnly: true},
		}
		found, err = kairos.Search(ctx, request)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	show(fmt.Sprintf("Search for %s: %d products", query, found.TotalSize), found.Results, found.Degradations)

	var recommended *gatewayv1.RecommendResponse
	err = within(500*time.Millisecond, func(ctx context.Context) error {
		request := &gatewayv1.RecommendRequest{UserId: "ana", SessionId: session, PageSize: 5}
		recommended, err = kairos.Recommend(ctx, request)
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	show("Recommended", recommended.Results, recommended.Degradations)

	if len(found.Results) == 0 {
		return
	}
	click := &commonv1.Event{
		// Your own id: an event that is sent again counts once, so that a write may be tried again.
		EventId: randomID(), UserId: "ana", SessionId: session, ItemId: found.Results[0].Product.Id,
		Type: commonv1.EventType_EVENT_TYPE_CLICK, AttributionToken: found.AttributionToken,
	}
	var recorded *gatewayv1.RecordEventsResponse
	err = retried(10*time.Second, func(ctx context.Context) error {
		recorded, err = kairos.RecordEvents(ctx, &gatewayv1.RecordEventsRequest{Events: []*commonv1.Event{click}})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("Recorded %d event, %d known before\n", recorded.RecordedCount, recorded.DuplicateCount)
}

// within makes one call with the API key and a deadline.
func within(deadline time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	return call(withKey(ctx))
}

// retried tries a write again while there is time: after RESOURCE_EXHAUSTED as late as the gateway says, after
// UNAVAILABLE with a growing, random pause. Reads have fallbacks: show their degraded answer instead.
func retried(deadline time.Duration, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := call(withKey(ctx))
		pause, mayRetry := pauseAfter(err, attempt)
		if !mayRetry {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

func pauseAfter(err error, attempt int) (time.Duration, bool) {
	switch status.Code(err) {
	case codes.ResourceExhausted:
		for _, detail := range status.Convert(err).Details() {
			if retry, ok := detail.(*errdetails.RetryInfo); ok {
				return retry.RetryDelay.AsDuration(), true
			}
		}
	case codes.Unavailable:
		growing := 100 * math.Pow(2, float64(attempt)) * (0.5 + mathrand.Float64())
		return time.Duration(growing) * time.Millisecond, true
	}
	return 0, false
}

func show(title string, results []*gatewayv1.Result, degradations []*commonv1.Degradation) {
	fmt.Println(title)
	for _, result := range results {
		price := "no price"
		if offer := result.GetPrice().GetOffer(); offer != nil {
			price = fmt.Sprintf("%s %.2f", offer.CurrencyCode, float64(offer.Units)+float64(offer.Nanos)/1e9)
		}
		fmt.Printf("  %d. %s (%s) %s\n", result.Position, result.Product.Title, result.Product.Id, price)
	}
	// A degraded answer is a whole answer: show it, and count what was given up.
	for _, one := range degradations {
		fmt.Printf("  degraded: %s %s, the answer holds: %s\n", one.Stage, one.Reason, one.Fallback)
	}
}

func withKey(ctx context.Context) context.Context {
	if key := os.Getenv("KAIROS_API_KEY"); key != "" {
		return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	}
	return ctx
}

func randomID() string {
	bytes := make([]byte, 16)
	if _, err := rand.Read(bytes); err != nil {
		log.Fatal(err)
	}
	return hex.EncodeToString(bytes)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
