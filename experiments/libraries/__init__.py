"""The benchmark's networks in other libraries of JAX, each written as its users write them."""
