"""Demand of each product as a function of its price, learned from sales, with its uncertainty."""
